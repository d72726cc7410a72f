package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
)

// logQueries passes calls on and records the queries of Log Analytics.
type logQueries struct {
	policy.Transporter

	mu   sync.Mutex
	seen []logQuery
}

type logQuery struct {
	text string
	rows int // of the answer
}

func (q *logQueries) Do(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/query") {
		return q.Transporter.Do(req)
	}
	var sent struct{ Query string }
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, json.Unmarshal(body, &sent)); err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := q.Transporter.Do(req)
	if err != nil {
		return nil, err
	}
	var got struct {
		Tables []struct{ Rows []json.RawMessage }
	}
	body, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	note := logQuery{text: sent.Query}
	if err := json.Unmarshal(body, &got); err == nil && len(got.Tables) == 1 {
		note.rows = len(got.Tables[0].Rows)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seen = append(q.seen, note)
	return resp, nil
}

// take returns the queries since the last call.
func (q *logQueries) take() []logQuery {
	q.mu.Lock()
	defer q.mu.Unlock()
	seen := q.seen
	q.seen = nil
	return seen
}

// logs returns the lines of a container with their streams.
func (p *playground) logs(t *testing.T, name, query string) []string {
	t.Helper()
	stream, err := p.Raw(t.Context(), "/containers/"+name+"/logs?"+query)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := demo.Demultiplex(stream)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestLongLogsThatArriveLate has two runs. The second prints more than its answer holds. Rows appear in Log Analytics
// ten minutes late.
func TestLongLogsThatArriveLate(t *testing.T) {
	const delay, many = 10 * time.Minute, 40_000
	queries := &logQueries{}
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		queries.Transporter = cfg.Transport
		cfg.Transport = queries
	})
	p.sim.SetFaults(azuresim.Faults{IngestionDelay: delay})
	again := filepath.Join(p.dir, "again")
	p.create(t, "web", api.Config{Cmd: []string{"/bin/sh", "-c", fmt.Sprintf(
		"if [ -e %[1]s ]; then seq -f 'line %%.0f of very many lines' %[2]d; else touch %[1]s; echo first; echo oops >&2; "+
			"fi", again, many,
	)}})
	for range 2 {
		p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/web/wait", nil, nil)
	}
	if _, err := os.Stat(again); err != nil {
		t.Fatal(err)
	}
	var whole []string
	for n := range many {
		whole = append(whole, fmt.Sprintf("stdout: line %d of very many lines", n+1))
	}
	// The two streams of the first run race to the handler.
	firstRun := func(lines []string) bool {
		return len(lines) == 2 && slices.Contains(lines, "stdout: first") && slices.Contains(lines, "stderr: oops")
	}

	early := p.logs(t, "web", "stdout=1&stderr=1")
	mark := slices.IndexFunc(early, func(line string) bool { return strings.HasPrefix(line, "stderr: [azf-handler: ") })
	if mark < 0 || !firstRun(early[:2]) {
		t.Fatalf("before rows arrive: got %d lines, no mark", len(early))
	}
	head, tail := early[2:mark], early[mark+1:]
	if left := many - len(head) - len(tail); early[mark] != fmt.Sprintf("stderr: [azf-handler: %d lines are left out "+
		"here]", left) ||
		left <= 0 || !slices.Equal(head, whole[:len(head)]) || !slices.Equal(tail, whole[many-len(tail):]) {
		t.Errorf("before rows arrive: got %d lines, %q, %d lines", len(head), early[mark], len(tail))
	}
	if got := queries.take(); len(got) != 1 || got[0].rows != 0 ||
		!strings.Contains(got[0].text, fmt.Sprintf("Seq between (%d .. %d)", len(head)+1, many-len(tail))) {
		t.Errorf("asked %+v", got)
	}

	p.clock.Advance(delay)
	if got := p.logs(t, "web", "stdout=1&stderr=1"); len(got) != many+2 || !firstRun(got[:2]) ||
		!slices.Equal(got[2:], whole) {
		t.Errorf("after rows have arrived: got %d lines", len(got))
	}
	if got := queries.take(); len(got) != 1 || got[0].rows != many-len(head)-len(tail) {
		t.Errorf("%d queries", len(got))
	}
	n := len(tail) + 100
	if got := p.logs(t, "web", fmt.Sprintf("stdout=1&stderr=1&tail=%d", n)); !slices.Equal(got, whole[many-n:]) {
		t.Errorf("tail of %d: got %d lines", n, len(got))
	}
	if got := queries.take(); len(got) != 1 || got[0].rows != 100 || !strings.Contains(got[0].text, " Begun == 100 ") {
		t.Errorf("the query for the tail: %+v", got)
	}
	stamped := regexp.MustCompile(`^stdout: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 40000 of very many lines$`)
	if got := p.logs(t, "web", "stdout=1&tail=1&timestamps=1&follow=1"); len(got) != 1 || !stamped.MatchString(got[0]) {
		t.Errorf("got %q", got)
	}
	if got := queries.take(); got != nil {
		t.Errorf("asked for what was captured: %+v", got)
	}

	// The next daemon finds Log Analytics by Terraform's state, and changes nothing.
	p.stop()
	p.start()
	calls := len(p.sim.Calls())
	if got := p.logs(t, "web", "stdout=1&stderr=1"); len(got) != many+2 {
		t.Errorf("from the next daemon: got %d lines", len(got))
	}
	for _, c := range p.sim.Calls()[calls:] {
		// At start, what is in Azure is listed.
		if c.Service == "arm" && !strings.HasSuffix(c.Path, "/resourceGroups/sockerless-rg/resources") {
			t.Errorf("%s %s", c.Method, c.Path)
		}
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
}
