package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// buffer is a stream that the handler writes while a test reads it.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines returns the lines of commands.
func (b *buffer) lines(t *testing.T) []protocol.Line {
	t.Helper()
	return slices.DeleteFunc(b.all(t), func(l protocol.Line) bool { return l.Stream == protocol.End })
}

// all returns all lines, including those with the ends of runs.
func (b *buffer) all(t *testing.T) []protocol.Line {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []protocol.Line
	for text := range strings.Lines(b.buf.String()) {
		var line protocol.Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("printed %q: %v", text, err)
		}
		out = append(out, line)
	}
	return out
}

type fixture struct {
	handler
	out, errs *buffer
}

// setup returns a handler whose command is a shell script.
func setup(t *testing.T, script string, environ ...string) fixture {
	t.Helper()
	cfg, err := readConfig([]string{"--", "/bin/sh", "-c", script},
		append([]string{"PATH=/usr/bin:/bin"}, environ...), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{out: &buffer{}, errs: &buffer{}}
	f.handler = handler{newRuns(cfg, f.out, f.errs)}
	t.Cleanup(f.runs.stop)
	return f
}

func (f fixture) do(method, target, body string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set(protocol.Header, protocol.Version)
	f.ServeHTTP(w, r)
	return w
}

// run starts a run and waits for its end.
func (f fixture) run(t *testing.T, id string, timeout int) protocol.Run {
	t.Helper()
	body, err := json.Marshal(protocol.StartRequest{RunID: id, TimeoutSeconds: timeout, WaitSeconds: 200})
	if err != nil {
		t.Fatal(err)
	}
	w := f.do("POST", protocol.RunPath, string(body))
	var run protocol.Run
	version := w.Header().Get(protocol.Header)
	if err := json.Unmarshal(w.Body.Bytes(), &run); err != nil || w.Code != 200 || version != protocol.Version {
		t.Fatalf("got %d %s of version %q, %v", w.Code, w.Body, version, err)
	}
	return run
}

func shown(lines []protocol.Line) (out []string) {
	for _, l := range lines {
		out = append(out, l.Stream+" "+l.Content())
	}
	return out
}

func TestRun(t *testing.T) {
	for name, row := range map[string]struct {
		script  string
		environ []string
		code    int
		lines   []string
		err     string
	}{
		"output":          {script: "echo a; echo b >&2; echo c", lines: []string{"out a", "err b", "out c"}},
		"exit code":       {script: "exit 42", code: 42},
		"signal":          {script: "kill -9 $$", code: 137, err: "signal 9"},
		"unterminated":    {script: "printf 'a\nb'", lines: []string{"out a", "out b"}},
		"empty lines":     {script: "echo; echo x", lines: []string{"out ", "out x"}},
		"carriage return": {script: `printf 'a\r\nb\rc\n'`, lines: []string{"out a\r", "out b\rc"}},
		"not UTF-8":       {script: `printf 'a\377b\n'`, lines: []string{"out a\xffb"}},
		"secrets are hidden": {
			script: "env | grep -c SECRET; echo $MINE $AZF_RUN_ID",
			environ: []string{
				"AzureWebJobsStorage=SECRET", "FUNCTIONS_X=SECRET", "appsetting_mine=SECRET", "AZF_COMMAND=",
				"DOCKER_REGISTRY_SERVER_PASSWORD=SECRET", "MINE=ok",
			},
			lines: []string{"out 0", "out ok r1"},
		},
		"working dir":    {script: "pwd", environ: []string{"AZF_WORKING_DIR=/usr"}, lines: []string{"out /usr"}},
		"no working dir": {script: "pwd", environ: []string{"AZF_WORKING_DIR=/nowhere"}, code: 127, err: "/nowhere"},
		"command setting": {
			environ: []string{`AZF_COMMAND=["/bin/echo","$HOME","a b"]`}, lines: []string{"out $HOME a b"},
		},
		"command not found": {environ: []string{`AZF_COMMAND=["no-such-command"]`}, code: 127, err: "no-such-command"},
		"not executable":    {environ: []string{`AZF_COMMAND=["/etc/passwd"]`}, code: 126, err: "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, row.script, row.environ...)
			run := f.run(t, "r1", 0)
			if !run.Done || run.RunID != "r1" || run.ExitCode != row.code {
				t.Errorf("got %+v, want code %d", run, row.code)
			}
			if !strings.Contains(run.Error, row.err) || (row.err == "") != (run.Error == "") {
				t.Errorf("got error %q, want %q", run.Error, row.err)
			}
			if got := shown(run.Lines); row.code == 0 && name != "output" && !slices.Equal(got, row.lines) {
				t.Errorf("got %q, want %q", got, row.lines)
			}
			// The two streams are two pipes, so the order of their lines is not fixed.
			if name == "output" && (len(run.Lines) != 3 || !slices.Contains(shown(run.Lines), "err b")) {
				t.Errorf("got %q", shown(run.Lines))
			}
			if run.FinishedAt.Before(run.StartedAt) {
				t.Errorf("finished %v before start %v", run.FinishedAt, run.StartedAt)
			}
			f.checkPrinted(t, run)
		})
	}
}

// checkPrinted compares the printed lines with those of the run's answer.
func (f fixture) checkPrinted(t *testing.T, run protocol.Run) {
	t.Helper()
	printed := slices.Concat(f.out.lines(t), f.errs.lines(t))
	if len(printed) != len(run.Lines) {
		t.Errorf("printed %d lines, captured %d", len(printed), len(run.Lines))
	}
	for _, l := range printed {
		if l.RunID != run.RunID || l.Seq < 1 || l.Time.IsZero() {
			t.Errorf("printed %+v", l)
		}
	}
	all := f.out.all(t)
	end := all[len(all)-1]
	want := protocol.Line{
		RunID: run.RunID, Stream: protocol.End, Seq: len(run.Lines) + 1, Time: end.Time, Text: strconv.Itoa(run.ExitCode),
	}
	if !reflect.DeepEqual(end, want) || end.Time.IsZero() {
		t.Errorf("printed %+v at the end, want %+v", end, want)
	}
}

func TestNoCommand(t *testing.T) {
	cfg, err := readConfig(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{handler: handler{newRuns(cfg, io.Discard, io.Discard)}}
	if run := f.run(t, "r", 0); run.ExitCode != 127 || !strings.Contains(run.Error, "no command") {
		t.Errorf("got %+v", run)
	}
}

func TestStartedTwiceRunsOnce(t *testing.T) {
	f := setup(t, "echo once")
	first := f.run(t, "same", 0)
	second := f.run(t, "same", 0)
	if len(f.out.lines(t)) != 1 || !first.StartedAt.Equal(second.StartedAt) {
		t.Errorf("printed %d lines; want the command to have run once", len(f.out.lines(t)))
	}
	f.run(t, "other", 0)
	if len(f.out.lines(t)) != 2 {
		t.Error("another id did not start another run")
	}
}

func TestLongRunIsPolled(t *testing.T) {
	fifo := t.TempDir() + "/fifo"
	f := setup(t, "mkfifo "+fifo+" && read x <"+fifo+"; echo $x")
	w := f.do("POST", protocol.RunPath, `{"run_id": "r"}`)
	if w.Code != http.StatusAccepted || strings.Contains(w.Body.String(), `"done":true`) {
		t.Fatalf("got %d %s, want 202", w.Code, w.Body)
	}
	if w := f.do("GET", protocol.RunsPath+"r", ""); w.Code != http.StatusAccepted {
		t.Errorf("got %d %s, want 202", w.Code, w.Body)
	}
	// A client that waits and leaves does not end the run.
	ctx, leave := context.WithCancel(t.Context())
	leave()
	f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", protocol.RunsPath+"r?wait=200", nil))
	polled := make(chan *httptest.ResponseRecorder)
	go func() { polled <- f.do("GET", protocol.RunsPath+"r?wait=200", "") }()
	go func() {
		// Opening for writing waits for the reader.
		writer := setup(t, "until [ -p "+fifo+" ]; do :; done; echo go >"+fifo)
		writer.run(t, "w", 0)
	}()
	if w = <-polled; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"m":"go"`) {
		t.Errorf("got %d %s, want the end", w.Code, w.Body)
	}
}

func TestTimeout(t *testing.T) {
	f := setup(t, "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done")
	run := f.run(t, "r", 1)
	if run.ExitCode != 124 || !strings.Contains(run.Error, "1s") || !slices.Contains(shown(run.Lines), "out bye") {
		t.Errorf("got %+v, want 124 after TERM", run)
	}
}

func TestTimeoutKills(t *testing.T) {
	f := setup(t, "trap '' TERM; sleep 600 & wait; sleep 600")
	if run := f.run(t, "r", 1); run.ExitCode != 124 {
		t.Errorf("got %+v, want 124", run)
	}
}

func TestChildrenLeftBehind(t *testing.T) {
	f := setup(t, "sleep 600 & echo $!; exit 5")
	run := f.run(t, "r", 0)
	if run.ExitCode != 5 {
		t.Errorf("got %+v, want the command's own code", run)
	}
	// The handler has sent KILL to the child, which soon is gone or a zombie of its new parent.
	azuretest.Eventually(t, "the child has ended", func() bool {
		stat, err := os.ReadFile("/proc/" + run.Lines[0].Text + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func TestStopEndsRuns(t *testing.T) {
	f := setup(t, "sleep 600")
	if w := f.do("POST", protocol.RunPath, `{"run_id": "r"}`); w.Code != http.StatusAccepted {
		t.Fatalf("got %d", w.Code)
	}
	f.runs.stop()
	w := f.do("GET", protocol.RunsPath+"r", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"exit_code":143`) {
		t.Errorf("got %d %s, want 143", w.Code, w.Body)
	}
	if w := f.do("POST", protocol.RunPath, `{"run_id": "new"}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want no new run", w.Code)
	}
}

func TestFinishedRunsAreForgotten(t *testing.T) {
	f := setup(t, "")
	for i := range maxFinished + 2 {
		f.run(t, fmt.Sprint(i), 0)
	}
	for id, want := range map[string]int{"0": 404, "101": 200} {
		if w := f.do("GET", protocol.RunsPath+id, ""); w.Code != want {
			t.Errorf("run %s: got %d, want %d", id, w.Code, want)
		}
	}
}
