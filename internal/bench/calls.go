package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// Call is one HTTP call as a client sent it.
type Call struct {
	Method string      `json:"method"`
	Path   string      `json:"path"` // with query
	Header http.Header `json:"header"`
	Body   []byte      `json:"body,omitempty"`
}

// Recorder keeps the calls that a handler gets, while recording is on.
type Recorder struct {
	mu    sync.Mutex
	on    bool
	calls []Call
}

// Wrap puts the recorder before a handler.
func (r *Recorder) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.recording() {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
			r.add(Call{Method: req.Method, Path: req.URL.RequestURI(), Header: req.Header.Clone(), Body: body})
		}
		next.ServeHTTP(w, req)
	})
}

func (r *Recorder) recording() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on
}

func (r *Recorder) add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// record returns the calls that come in while f runs.
func (r *Recorder) record(f func() error) ([]Call, error) {
	r.mu.Lock()
	r.on, r.calls = true, nil
	r.mu.Unlock()
	err := f()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = false
	return r.calls, err
}

// byTerraform returns the calls of azurerm and those of its login, in order.
func byTerraform(calls []Call) (theirs []Call) {
	for _, c := range calls {
		agent := c.Header.Get("User-Agent")
		// Tokens and metadata are asked for under Go's own name; function hosts pull their images.
		if strings.Contains(agent, "terraform-provider-azurerm") ||
			!strings.Contains(agent, "azsdk-go") && !strings.HasPrefix(c.Path, "/v2/") {
			theirs = append(theirs, c)
		}
	}
	return theirs
}

// shape returns a call without the parts that differ from one container to the next.
func (c Call) shape() string {
	path, _, _ := strings.Cut(c.Path, "?")
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch {
		case i > 0 && strings.EqualFold(parts[i-1], "subscriptions"),
			i > 0 && strings.EqualFold(parts[i-1], "resourceGroups"):
			parts[i] = "..."
		case strings.HasPrefix(part, "skls-"):
			parts[i] = "NAME"
		}
	}
	return c.Method + " " + strings.Join(parts, "/")
}

// Task is the work of a client in a process of its own.
type Task struct {
	Sim azuresim.Access `json:"sim"`
	// Calls are replayed one after another.
	Calls []Call `json:"calls,omitempty"`
	// Site is created with the SDK when there are no calls.
	Site Site `json:"site,omitzero"`
}

// Sample is the cost of one measured thing.
type Sample struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`
	// Parts divides the CPU of a daemon.
	Parts CPU `json:"parts,omitzero"`
}

// ReadTask reads a task that a benchmark has written.
func ReadTask(file string) (t Task, err error) {
	content, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(content, &t)
	}
	if err != nil {
		return t, fmt.Errorf("read task: %w", err)
	}
	return t, nil
}

// Replay repeats a task's calls one after another, as plainly as a client can, and prints a Sample.
func Replay(ctx context.Context, file string, stdout io.Writer) error {
	task, err := ReadTask(file)
	if err != nil {
		return err
	}
	transport, err := task.Sim.Transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	return measured(stdout, func() error {
		for _, c := range task.Calls {
			if err := c.send(ctx, client, task.Sim.URL); err != nil {
				return err
			}
		}
		return nil
	})
}

// send repeats the call and reads the answer.
func (c Call) send(ctx context.Context, client *http.Client, address string) (err error) {
	req, err := http.NewRequestWithContext(ctx, c.Method, address+c.Path, bytes.NewReader(c.Body))
	if err != nil {
		return err
	}
	req.Header = c.Header.Clone()
	req.Header.Del("Accept-Encoding")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest &&
		res.StatusCode != http.StatusNotFound { // azurerm asks first whether there is one
		return fmt.Errorf("replay %s: %s", c.shape(), res.Status)
	}
	return nil
}

// measured runs f and prints its Sample.
func measured(stdout io.Writer, f func() error) error {
	before, started := ownCPU(), time.Now()
	if err := f(); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(Sample{Wall: time.Since(started), CPU: ownCPU() - before})
}

func ownCPU() time.Duration { return usage(syscall.RUSAGE_SELF) }

// usage returns the processor time of this process, or of the children that it has waited for.
func usage(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
