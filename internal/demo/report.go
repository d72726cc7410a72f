package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Step is the result of one step of a demo, and one line of its JSON output.
type Step struct {
	Step       string `json:"step"`
	OK         bool   `json:"ok"`
	DurationMS int64  `json:"duration_ms"`
	Detail     string `json:"detail,omitempty"`

	Wrapped      string   `json:"wrapped,omitempty"`
	Plan         string   `json:"plan,omitempty"`
	Workspace    string   `json:"workspace,omitempty"`
	FunctionApp  string   `json:"function_app,omitempty"`
	ExitCode     *int64   `json:"exit_code,omitempty"`
	Lines        []string `json:"lines,omitempty"`
	FunctionApps *int     `json:"function_apps_left,omitempty"`
	Error        string   `json:"error,omitempty"`
}

// Report prints the steps of a demo, for people or as JSON lines.
type Report struct {
	json bool

	mu  sync.Mutex
	out io.Writer
	err error // the first failed write
}

// NewReport returns a report that is written to out.
func NewReport(out io.Writer, asJSON bool) *Report { return &Report{out: out, json: asJSON} }

// progressEvery is the interval at which a long step shows that it is still under way.
const progressEvery = 5 * time.Second

// step runs f, which fills in the step, and prints the result. It prints and returns the error of f. While f is under
// way, step shows that from time to time.
func (r *Report) step(ctx context.Context, name string, f func(*Step) error) error {
	started := time.Now()
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if !r.json {
					r.printf("   ... %s, %s\n", name, time.Since(started).Round(time.Second))
				}
			case <-done:
				return
			}
		}
	})
	return r.quietStep(ctx, name, func(s *Step) error {
		defer shown.Wait()
		defer close(done)
		return f(s)
	})
}

// quietStep is like step, for an f that shows its own progress.
func (r *Report) quietStep(ctx context.Context, name string, f func(*Step) error) error {
	started := time.Now()
	s := Step{Step: name}
	err := f(&s)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s.OK, s.DurationMS = err == nil, time.Since(started).Milliseconds()
	if err != nil {
		s.Error = err.Error()
		err = fmt.Errorf("%s: %w", name, err)
	}
	r.print(s)
	return errors.Join(err, r.err)
}

func (r *Report) print(s Step) {
	if r.json {
		line, err := json.Marshal(s)
		if err != nil {
			line = []byte(err.Error())
		}
		r.printf("%s\n", line)
		return
	}
	mark := "ok"
	if !s.OK {
		mark = "FAILED"
	}
	r.printf("%-6s %-7s %6.2fs  %s\n", mark, s.Step, float64(s.DurationMS)/1000, s.Detail)
	for _, extra := range []struct{ name, value string }{
		{"wrapped as", s.Wrapped}, {"plan", s.Plan}, {"workspace", s.Workspace}, {"function app", s.FunctionApp},
	} {
		if extra.value != "" {
			r.printf("         %-12s  %s\n", extra.name, extra.value)
		}
	}
	for _, line := range s.Lines {
		r.printf("         | %s\n", line)
	}
}

// serving prints how to use a demo that keeps running. A daemon on TCP has no socket; its address is shown only.
func (r *Report) serving(address, socket, image string) error {
	if r.json {
		line, err := json.Marshal(map[string]string{"step": "serving", "address": address, "socket": socket, "image": image})
		if err != nil {
			return err
		}
		r.printf("%s\n", line)
		return r.err
	}
	if socket == "" {
		r.printf("\nThe daemon answers on %s until INT or TERM. The image is %s\n", address, image)
		return r.err
	}
	r.printf(`
The daemon answers on %[1]s until INT or TERM. The image is %[2]s

  api() { curl --silent --show-error --unix-socket '%[1]s' "$@"; }
  base=http://localhost/internal/v1

  api $base/capabilities
  api -X POST "$base/containers?name=hi" -H 'Content-Type: application/json' \
    -d '{"Image": "%[2]s", "Cmd": ["hello", "world"]}'
  api $base/containers/hi
  api -X POST $base/containers/hi/start
  api -X POST $base/containers/hi/wait
  api "$base/containers/hi/logs?stdout=1&stderr=1" --output -
  api "$base/containers?all=1"
  api -X DELETE $base/containers/hi

The docker CLI talks to it too:

  docker context create azf --docker 'host=unix://%[1]s'
  docker --context azf run -d --name hi '%[2]s' hello docker
  docker --context azf wait hi
  docker --context azf logs hi
  docker --context azf rm hi
  docker context rm azf
`, socket, image)
	return r.err
}

func (r *Report) printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := fmt.Fprintf(r.out, format, args...); err != nil && r.err == nil {
		r.err = err
	}
}
