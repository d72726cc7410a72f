package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

// printed makes each run print these lines to stdout, one of them a second, and wait for release.
func (f *fixture) printed(texts ...string) (began chan string, release chan struct{}) {
	began, release = make(chan string, 10), make(chan struct{})
	f.invoker.run = func(ctx context.Context, r invoker.Request) (invoker.Result, error) {
		began <- r.RunID
		select {
		case <-release:
		case <-ctx.Done():
			return invoker.Result{}, context.Cause(ctx)
		}
		res := invoker.Result{ExitCode: 3, Protocol: true}
		for i, text := range texts {
			at := f.db.Now().Add(time.Duration(i) * time.Second)
			res.Lines = append(res.Lines, protocol.Line{Time: at, Stream: protocol.Stdout, Text: text, Seq: i + 1})
		}
		return res, nil
	}
	return began, release
}

// arrived is a Log Analytics that has some lines of a run.
type arrived struct {
	LogReader
	run  string
	seqs []int
}

func (a arrived) Lines(context.Context, logs.Query) (out []logs.Line, err error) {
	for _, seq := range a.seqs {
		out = append(out, logs.Line{RunID: a.run, Stream: api.Stdout, Text: "early " + string(rune('0'+seq)), Seq: seq})
	}
	return out, nil
}

// texts returns the lines of a stream without Docker's frames.
func texts(t *testing.T, stream io.ReadCloser) string {
	t.Helper()
	content, err := io.ReadAll(stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(content)) {
		out = append(out, strings.TrimRight(line[8:], "\n"))
	}
	return strings.Join(out, ", ")
}

// TestFollowEndsWithTheRun follows logs and attaches. Lines of earlier runs come first, those of the run at its end.
func TestFollowEndsWithTheRun(t *testing.T) {
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.attach = true
	f.start(t)
	if !f.Capabilities().Attach {
		t.Error("the capabilities do not show that attach works")
	}
	f.logs.LogReader = arrived{}
	began, release := f.printed("one", "two", "three")
	id := f.create(t, "web")
	follow := api.LogOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}
	open := func(opts api.LogOptions) io.ReadCloser {
		t.Helper()
		stream, err := f.ContainerLogs(t.Context(), id, opts)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	attach := func(opts api.AttachOptions) io.ReadWriteCloser {
		t.Helper()
		stream, err := f.ContainerAttach(t.Context(), id, opts)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	if got := texts(t, open(follow)); got != "" {
		t.Errorf("before a run: got %q", got)
	}
	waiting := attach(api.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if _, err := waiting.Write([]byte("input")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("input: got %v", err)
	}
	f.run(t, id)
	<-began
	first := open(follow)
	release <- struct{}{}
	for name, stream := range map[string]io.ReadCloser{"logs": first, "attach before the start": waiting} {
		if got := texts(t, stream); got != "one, two, three" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	f.wait(t, id, "")

	// The second run, of which Log Analytics has some lines.
	f.run(t, id)
	run := <-began
	f.workspaces.set(func() { f.workspaces.outputs = "workspace" })
	f.logs.LogReader = arrived{run: run, seqs: []int{4, 2, 1}} // 3 is not there yet
	streams := map[string]io.ReadCloser{
		"one, two, three, early 1, early 2, three": open(follow),
		"early 2, three":          open(api.LogOptions{Stdout: true, Follow: true, Tail: 1}),
		"three":                   open(api.LogOptions{Stdout: true, Follow: true, Tail: 0}),
		"early 1, early 2, three": attach(api.AttachOptions{Stream: true, Stdout: true}),
		"azf: input is not connected: the command reads nothing, early 1, early 2, three": attach(
			api.AttachOptions{Stream: true, Stdout: true, Stdin: true}),
		"": open(api.LogOptions{Stderr: true, Follow: true, Tail: -1}),
	}
	now := open(api.LogOptions{Stdout: true, Tail: -1})
	if got := texts(t, now); got != "one, two, three, early 4, early 2, early 1" {
		t.Errorf("without follow: got %q", got)
	}
	release <- struct{}{}
	for want, stream := range streams {
		if got := texts(t, stream); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f.wait(t, id, "")
	both := texts(t, attach(api.AttachOptions{Logs: true, Stdout: true}))
	if both != "one, two, three, one, two, three" {
		t.Errorf("logs without stream: got %q", both)
	}
	removed := attach(api.AttachOptions{Stream: true, Stdout: true})
	if err := f.ContainerRemove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, removed); got != "" {
		t.Errorf("a container that is removed: got %q", got)
	}
}

// TestRefusedAttach leaves nothing behind of a container that removes itself and was never started.
func TestRefusedAttach(t *testing.T) {
	f := setup(t)
	attach := func(ref string) string {
		t.Helper()
		_, err := f.ContainerAttach(t.Context(), ref, api.AttachOptions{Stream: true, Stdout: true})
		if api.KindOf(err) != api.NotImplemented {
			t.Fatalf("got %v", err)
		}
		return err.Error()
	}
	f.create(t, "kept")
	if got := attach("kept"); !strings.Contains(got, `"docker start kept" starts it, "docker rm kept" removes it`) {
		t.Errorf("got %s", got)
	}
	self := request
	self.HostConfig = &api.HostConfig{AutoRemove: true}
	for _, name := range []string{"never", "ran"} {
		if _, err := f.ContainerCreate(t.Context(), name, self); err != nil {
			t.Fatal(err)
		}
	}
	began, release := f.printed()
	f.run(t, "ran")
	<-began
	attach("ran")
	if got := attach("never"); !strings.Contains(got, "The container never is removed") {
		t.Errorf("got %s", got)
	}
	list := f.settled(t)
	if len(list) != 2 || list[0].Name != "ran" || list[0].State != store.Running || list[1].Name != "kept" {
		t.Errorf("left %+v", list)
	}
	release <- struct{}{}
	if list := f.settled(t); len(list) > 2 {
		t.Errorf("left %+v", list)
	}
}
