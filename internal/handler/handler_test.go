package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// buffer is a stream that the handler prints to while a test reads it.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines are those that commands printed.
func (b *buffer) lines(t *testing.T) []protocol.Line {
	t.Helper()
	return slices.DeleteFunc(b.all(t), func(l protocol.Line) bool { return l.Stream == protocol.End })
}

// all are those too that tell the ends of runs.
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

// setup is a handler whose command is a shell script.
func setup(t *testing.T, script string, environ ...string) fixture {
	t.Helper()
	cfg, err := readConfig([]string{"--", "/bin/sh", "-c", script}, append([]string{"PATH=/usr/bin:/bin"}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{out: &buffer{}, errs: &buffer{}}
	f.handler = handler{newRuns(cfg, f.out, f.errs)}
	t.Cleanup(f.runs.stop)
	return f
}

func (f fixture) do(method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
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
	if err := json.Unmarshal(w.Body.Bytes(), &run); err != nil || w.Code != 200 || w.Header().Get(protocol.Header) != protocol.Version {
		t.Fatalf("got %d %s, %v", w.Code, w.Body, err)
	}
	return run
}

func texts(lines []protocol.Line) (out []string) {
	for _, l := range lines {
		out = append(out, l.Stream+" "+l.Text)
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
		"output":             {script: "echo a; echo b >&2; echo c", lines: []string{"out a", "err b", "out c"}},
		"exit code":          {script: "exit 42", code: 42},
		"signal":             {script: "kill -9 $$", code: 137, err: "signal 9"},
		"unterminated":       {script: "printf 'a\nb'", lines: []string{"out a", "out b"}},
		"empty lines":        {script: "echo; echo x", lines: []string{"out ", "out x"}},
		"carriage return":    {script: `printf 'a\r\n'`, lines: []string{"out a"}},
		"no UTF-8":           {script: `printf 'a\377b\n'`, lines: []string{"out a\uFFFDb"}},
		"secrets are hidden": {script: "env | grep -c SECRET; echo $MINE $AZF_RUN_ID", environ: []string{"AzureWebJobsStorage=SECRET", "FUNCTIONS_X=SECRET", "appsetting_mine=SECRET", "AZF_COMMAND=", "DOCKER_REGISTRY_SERVER_PASSWORD=SECRET", "MINE=ok"}, lines: []string{"out 0", "out ok r1"}},
		"working dir":        {script: "pwd", environ: []string{"AZF_WORKING_DIR=/usr"}, lines: []string{"out /usr"}},
		"no working dir":     {script: "pwd", environ: []string{"AZF_WORKING_DIR=/nowhere"}, code: 127, err: "/nowhere"},
		"command setting":    {environ: []string{`AZF_COMMAND=["/bin/echo","$HOME","a b"]`}, lines: []string{"out $HOME a b"}},
		"command not found":  {environ: []string{`AZF_COMMAND=["no-such-command"]`}, code: 127, err: "no-such-command"},
		"not executable":     {environ: []string{`AZF_COMMAND=["/etc/passwd"]`}, code: 126, err: "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, row.script, row.environ...)
			run := f.run(t, "r1", 0)
			if !run.Done || run.RunID != "r1" || run.ExitCode != row.code || !strings.Contains(run.Error, row.err) || (row.err == "") != (run.Error == "") {
				t.Errorf("got %+v, want code %d and error %q", run, row.code, row.err)
			}
			if got := texts(run.Lines); row.code == 0 && name != "output" && !slices.Equal(got, row.lines) {
				t.Errorf("got %q, want %q", got, row.lines)
			}
			// The two streams are two pipes: their order against each other is nobody's.
			if name == "output" && (len(run.Lines) != 3 || !slices.Contains(texts(run.Lines), "err b")) {
				t.Errorf("got %q", texts(run.Lines))
			}
			printed := slices.Concat(f.out.lines(t), f.errs.lines(t))
			if len(printed) != len(run.Lines) {
				t.Errorf("printed %d lines, captured %d", len(printed), len(run.Lines))
			}
			all := f.out.all(t)
			if end := all[len(all)-1]; end.Stream != protocol.End || end.Text != strconv.Itoa(row.code) || end.RunID != "r1" || end.Seq != len(run.Lines)+1 || end.Time.IsZero() {
				t.Errorf("at last printed %+v", end)
			}
			for _, l := range printed {
				if l.RunID != "r1" || l.Seq < 1 || l.Time.IsZero() {
					t.Errorf("printed %+v", l)
				}
			}
			if run.FinishedAt.Before(run.StartedAt) {
				t.Errorf("finished %v before start %v", run.FinishedAt, run.StartedAt)
			}
		})
	}
}

func TestNoCommand(t *testing.T) {
	cfg, err := readConfig(nil, nil)
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
	if run.ExitCode != 124 || !strings.Contains(run.Error, "1s") || !slices.Contains(texts(run.Lines), "out bye") {
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
	for { // it was sent KILL; it is gone, or waits for its new parent as a zombie, in a moment
		stat, err := os.ReadFile("/proc/" + run.Lines[0].Text + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
	}
}

func TestStopEndsRuns(t *testing.T) {
	f := setup(t, "sleep 600")
	if w := f.do("POST", protocol.RunPath, `{"run_id": "r"}`); w.Code != http.StatusAccepted {
		t.Fatalf("got %d", w.Code)
	}
	f.runs.stop()
	if w := f.do("GET", protocol.RunsPath+"r", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"exit_code":143`) {
		t.Errorf("got %d %s, want 143", w.Code, w.Body)
	}
	if w := f.do("POST", protocol.RunPath, `{"run_id": "new"}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want no new run", w.Code)
	}
}

func TestCapture(t *testing.T) {
	// 1000 lines of 10 bytes; 2000 bytes hold about 38 at each end.
	f := setup(t, "i=0; while [ $i -lt 1000 ]; do printf '%010d\n' $i; i=$((i+1)); done", "AZF_OUTPUT_LIMIT=2000")
	run := f.run(t, "r", 0)
	if !run.Truncated || run.Lines[0].Text != "0000000000" || run.Lines[len(run.Lines)-1].Text != "0000000999" {
		t.Fatalf("got %q, truncated %v", texts(run.Lines), run.Truncated)
	}
	size, marks := 0, 0
	for i, l := range run.Lines {
		size += len(l.Text)
		if i > 0 && l.Seq <= run.Lines[i-1].Seq {
			t.Errorf("line %d has seq %d after %d", i, l.Seq, run.Lines[i-1].Seq)
		}
		if l.Omitted == nil {
			continue
		}
		marks++
		left := 1000 - len(run.Lines) + 1
		if *l.Omitted != (protocol.Omitted{Stdout: left}) || l.Text != fmt.Sprintf("[azf-handler: %d lines are left out here]", left) ||
			l.Seq != run.Lines[i+1].Seq-1 || l.Seq-left != run.Lines[i-1].Seq || !l.Time.Equal(run.Lines[i+1].Time) {
			t.Errorf("got %+v for %d lines, between %+v and %+v", l, left, run.Lines[i-1], run.Lines[i+1])
		}
	}
	if size > 2100 || marks != 1 {
		t.Errorf("kept %d bytes with %d marks", size, marks)
	}
	if printed := f.out.lines(t); len(printed) != 1000 {
		t.Errorf("printed %d lines, want all", len(printed))
	}
}

func TestLongLinesAreCut(t *testing.T) {
	f := setup(t, `i=0; while [ $i -lt 3000 ]; do printf 'ä€'; i=$((i+1)); done; echo`)
	run := f.run(t, "r", 0)
	whole := ""
	for _, l := range run.Lines {
		if len(l.Text) > maxLine {
			t.Errorf("a line has %d bytes", len(l.Text))
		}
		whole += l.Text
	}
	if whole != strings.Repeat("ä€", 3000) || len(run.Lines) != 4 {
		t.Errorf("got %d bytes in %d lines", len(whole), len(run.Lines))
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

func TestRefusals(t *testing.T) {
	f := setup(t, "exit 0")
	for _, row := range []struct {
		method, target, body string
		status               int
		message              string
	}{
		{"GET", "/api/run", "", 405, "POST"},
		{"POST", "/api/run", "", 400, "Content-Length"},
		{"POST", "/api/run", "x", 400, "start request"},
		{"POST", "/api/run", "{}", 400, "run_id"},
		{"POST", "/api/run", `{"run_id": "` + strings.Repeat("x", 129) + `"}`, 400, "run_id"},
		{"POST", "/api/run", `{"run_id": "r", "timeout_seconds": -1}`, 400, "negative"},
		{"POST", "/api/run", `{"run_id": "r", "wait_seconds": -1}`, 400, "negative"},
		{"POST", "/api/run", `{"run_id": "` + strings.Repeat("x", 2<<20) + `"}`, 400, "too large"},
		{"POST", "/api/runs/r", "", 405, "GET"},
		{"GET", "/api/runs/r", "", 404, "knows no run"},
		{"GET", "/api/runs/r?wait=x", "", 400, "wait"},
		{"GET", "/api/runs/r?wait=-1", "", 400, "wait"},
		{"POST", "/run", `{"Data": {}, "Metadata": {}}`, 400, "enableForwardingHttpRequest"},
		{"GET", "/api/other", "", 404, "only"},
	} {
		w := f.do(row.method, row.target, row.body)
		if w.Code != row.status || !strings.Contains(w.Body.String(), row.message) || w.Header().Get(protocol.Header) == "" {
			t.Errorf("%s %s %.40s: got %d %s, want %d and %q", row.method, row.target, row.body, w.Code, w.Body, row.status, row.message)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, entry := range []string{"AZF_COMMAND=ls -l", `AZF_COMMAND={"a":1}`, "AZF_OUTPUT_LIMIT=0", "AZF_OUTPUT_LIMIT=many"} {
		if _, err := readConfig(nil, []string{entry}); err == nil {
			t.Errorf("%s: no error", entry)
		}
	}
}

func TestServe(t *testing.T) {
	if err := Run(t.Context(), nil, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "FUNCTIONS_CUSTOMHANDLER_PORT") {
		t.Errorf("got %v, want a word on the port", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, []string{"/bin/sleep", "600"}, []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + port}, io.Discard, io.Discard)
	}()
	base := "http://127.0.0.1:" + port
	for {
		res, err := http.Get(base + "/")
		if err != nil {
			continue // not listening yet
		}
		if res.StatusCode != http.StatusOK || res.Body.Close() != nil {
			t.Errorf("probe: got %s", res.Status)
		}
		break
	}
	res, err := http.Post(base+protocol.RunPath, "application/json", strings.NewReader(`{"run_id": "r"}`))
	if err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("got %v, %v", res, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want a clean end with a run under way", err)
	}
}
