package funchost

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Row is one row of telemetry, for a table of Log Analytics. Times in Values are text in RFC 3339.
type Row struct {
	Table  string
	Values map[string]any
}

// maxWaiting is the number of rows that wait to be sent, before who writes more has to wait.
const maxWaiting = 10_000

// telemetry sends rows in their order, as many at once as there are.
type telemetry struct {
	url    string
	client *http.Client
	ended  chan struct{}

	mu     sync.Mutex
	change *sync.Cond
	rows   []Row
	added  int // rows since the start
	sent   int
	closed bool
}

func newTelemetry(url string) *telemetry {
	t := &telemetry{
		url: url, ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: time.Minute},
	}
	t.change = sync.NewCond(&t.mu)
	go t.send()
	return t
}

// append adds a row.
func (t *telemetry) append(table string, values map[string]any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.rows) >= maxWaiting && !t.closed {
		t.change.Wait()
	}
	t.rows = append(t.rows, Row{table, values})
	t.added++
	t.change.Broadcast()
}

// flush blocks until the rows that were added before have been sent.
func (t *telemetry) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for added := t.added; t.sent < added; {
		t.change.Wait()
	}
}

// close sends what waits, and ends.
func (t *telemetry) close() {
	t.mu.Lock()
	t.closed = true
	t.change.Broadcast()
	t.mu.Unlock()
	<-t.ended
}

func (t *telemetry) send() {
	defer close(t.ended)
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for len(t.rows) == 0 && !t.closed {
			t.change.Wait()
		}
		rows := t.rows
		if t.rows = nil; len(rows) == 0 {
			return
		}
		t.mu.Unlock()
		t.post(rows)
		t.mu.Lock()
		t.sent += len(rows)
		t.change.Broadcast()
	}
}

// post sends rows once. Application Insights loses telemetry, too, when it cannot be reached.
func (t *telemetry) post(rows []Row) {
	if t.url == "" {
		return
	}
	content, err := json.Marshal(rows)
	if err != nil {
		return
	}
	if res, err := t.client.Post(t.url, "application/json", bytes.NewReader(content)); err == nil {
		_ = res.Body.Close()
	}
}
