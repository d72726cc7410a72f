package invoker

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// FuzzAnswer expects one of three outcomes for any answer of a handler: azf-handler's state of the run, an error
// that a user can act on, or the result of an image's own handler. version is the header of azf-handler's answers,
// empty for none.
func FuzzAnswer(f *testing.F) {
	at := time.Unix(1_700_000_000, 0).UTC()
	f.Fuzz(func(t *testing.T, status int, version string, body []byte) {
		r := &run{Invoker: &Invoker{now: func() time.Time { return at }}, t: target, q: Request{RunID: testRun}, started: at}
		a := answer{status: status, header: http.Header{}, body: body}
		if version == "" {
			checkForeign(t, a, r.foreign(a))
			return
		}
		a.header.Set(protocol.Header, version)
		if !a.ours() {
			t.Fatalf("an answer with the header %q does not count as azf-handler's", version)
		}
		res, done, err := r.read(a)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Message == "" || e.App != target.App || (e.Kind != KindHostError && e.Kind != KindLost) {
				t.Fatalf("got the error %#v", err)
			}
			if done || !cmp.Equal(res, Result{}) {
				t.Fatalf("got %+v, %t with the error %#v", res, done, err)
			}
			return
		}
		if !protocol.Known(version) || status != http.StatusOK && status != http.StatusAccepted ||
			!res.Protocol || res.ExitCode < 0 || res.ExitCode > maxExitCode {
			t.Fatalf("status %d, version %q: got %+v", status, version, res)
		}
		// The result, encoded like azf-handler's answer, must decode to the same result.
		again, err := json.Marshal(protocol.Run{
			RunID: testRun, Done: done, ExitCode: res.ExitCode, Error: res.Error,
			StartedAt: res.StartedAt, FinishedAt: res.FinishedAt, Lines: res.Lines, Truncated: res.Truncated,
		})
		if err != nil {
			t.Fatal(err)
		}
		a.body = again
		second, doneAgain, err := r.read(a)
		if len(res.Lines) == 0 {
			res.Lines = nil // an empty list is not written
		}
		if err != nil || doneAgain != done || !cmp.Equal(res, second) {
			t.Fatalf("%s is read as %+v, %t, %v; was %+v, %t", again, second, doneAgain, err, res, done)
		}
	})
}

func checkForeign(t *testing.T, a answer, res Result) {
	t.Helper()
	ok := a.status >= 200 && a.status < 300
	if ok != (res.ExitCode == 0) || ok != (res.Error == "") || res.ExitCode > 1 || res.Protocol || ok && res.Lines != nil {
		t.Fatalf("status %d: got %+v", a.status, res)
	}
	var output strings.Builder
	for n, l := range res.Lines {
		output.WriteString(l.Content())
		if l.Ending == "" {
			output.WriteByte('\n')
		}
		if l.Stream != protocol.Stderr || l.Seq != n+1 || !utf8.ValidString(l.Text) || strings.Contains(l.Text, "\n") {
			t.Fatalf("line %d is %+v", n, l)
		}
	}
	if want := string(a.body[:min(len(a.body), maxLines)]); !ok && output.String() != want {
		t.Fatalf("got output %q, want %q", output.String(), want)
	}
}
