package invoker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestRequestOnTheWire(t *testing.T) {
	f, inv := newFake(t, script{post: []step{running()}, poll: []step{ended(0)}})
	trace := NewTraceparent()
	req := Request{RunID: testRun, Traceparent: trace, Timeout: 90*time.Second + time.Millisecond}
	if _, err := inv.Run(t.Context(), target, req); err != nil {
		t.Fatal(err)
	}
	post, poll := f.posts[0], f.polls[0]
	for _, r := range []recorded{post, poll} {
		got := []string{r.header.Get("x-functions-key"), r.header.Get("traceparent"), r.header.Get(protocol.RunIDHeader)}
		if want := []string{testKey, trace, testRun}; !cmp.Equal(got, want) {
			t.Errorf("headers %v, want %v", got, want)
		}
	}
	if post.url != "/api/run" || poll.url != "/api/runs/run-1?wait=120" {
		t.Errorf("URLs %q, %q", post.url, poll.url)
	}
	if post.length <= 0 || post.coding != nil {
		t.Errorf("Content-Length %d, Transfer-Encoding %v", post.length, post.coding)
	}
	want := protocol.StartRequest{RunID: testRun, TimeoutSeconds: 91, WaitSeconds: 200}
	if post.start != want {
		t.Errorf("body %+v, want %+v", post.start, want)
	}
	// listkeys, GET /, POST, poll. The wait for a run with a time limit is only a little longer than the limit.
	limits := []time.Duration{armLimit, readyLimit, 120*time.Second + time.Millisecond, 150*time.Second + time.Millisecond}
	if d := cmp.Diff(limits, f.limits); d != "" {
		t.Errorf("limits of the requests (-want +got):\n%s", d)
	}
}

func TestResult(t *testing.T) {
	t.Run("azf-handler", func(t *testing.T) {
		_, inv := newFake(t, script{post: []step{ended(1)}})
		got, err := inv.Run(t.Context(), target, Request{RunID: testRun})
		if err != nil {
			t.Fatal(err)
		}
		want := Result{
			ExitCode: 1, Protocol: true, StartedAt: time.Unix(1, 0).UTC(), FinishedAt: time.Unix(2, 0).UTC(),
			Lines: []protocol.Line{{Stream: protocol.Stdout, Seq: 1, Text: "hi"}},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("result (-want +got):\n%s", d)
		}
	})
	t.Run("own handler that echoes the key", func(t *testing.T) {
		f, inv := newFake(t, script{post: []step{after(time.Second, func(_ *fake, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "bad\xff\r\nkey "+r.Header.Get(keyHeader)+"\n")
		})}})
		start := f.now()
		got, err := inv.Run(t.Context(), target, Request{RunID: testRun})
		if err != nil {
			t.Fatal(err)
		}
		end := start.Add(time.Second)
		want := Result{
			ExitCode: 1, Error: "the handler answered status 418", StartedAt: start, FinishedAt: end,
			Lines: []protocol.Line{
				{Stream: protocol.Stderr, Seq: 1, Time: end, Text: "bad\uFFFD\r", Bytes: []byte("bad\xff\r")},
				{Stream: protocol.Stderr, Seq: 2, Time: end, Text: "key [host key]"},
			},
			Body: []byte("bad\xff\r\nkey [host key]\n"),
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("result (-want +got):\n%s", d)
		}
	})
	t.Run("large failure", func(t *testing.T) {
		_, inv := newFake(t, script{post: []step{body(http.StatusTeapot, strings.Repeat("x", maxBody+5))}})
		got, err := inv.Run(t.Context(), target, Request{RunID: testRun})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Body) != maxBody || len(got.Lines) != 1 || len(got.Lines[0].Text) != maxLines || !got.Truncated {
			t.Errorf("body of %d bytes, %d lines, truncated %t", len(got.Body), len(got.Lines), got.Truncated)
		}
	})
}

func TestKeyIsReadOnceAndForgotten(t *testing.T) {
	f, inv := newFake(t, script{post: []step{ended(0)}})
	for range 2 {
		if _, err := inv.Run(t.Context(), target, Request{RunID: testRun}); err != nil {
			t.Fatal(err)
		}
	}
	if f.total("keys") != 1 {
		t.Errorf("%d key reads for two runs", f.total("keys"))
	}
	inv.Forget(Target{ResourceGroup: "RG", App: "SKLS-app"}) // Azure ignores the case of names
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun}); err != nil {
		t.Fatal(err)
	}
	if f.total("keys") != 2 {
		t.Errorf("%d key reads after Forget, want 2", f.total("keys"))
	}
}

func TestRetryAfter(t *testing.T) {
	throttled := func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	f, inv := newFake(t, script{keys: []step{throttled, keys(testKey)}, post: []step{ended(0)}})
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun}); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{17 * time.Second}; !cmp.Equal(f.slept, want) {
		t.Errorf("slept %v, want %v", f.slept, want)
	}
}

func TestCertificateIsNotRetried(t *testing.T) {
	f, inv := newFake(t, script{})
	other := target
	other.HostName = "elsewhere.test" // not in the certificate
	_, err := inv.Run(t.Context(), other, Request{RunID: testRun})
	if KindOf(err) != KindNetwork || len(f.slept) != 0 {
		t.Errorf("error %v of kind %q after %d sleeps", err, KindOf(err), len(f.slept))
	}
}

func TestCredentialFails(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	cause := errors.New("az login has expired")
	inv, err := New(Config{Credential: azuretest.Credential{Err: cause}, SubscriptionID: "sub", Transport: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = inv.Run(t.Context(), target, Request{RunID: testRun})
	if KindOf(err) != KindUnauthorized || !errors.Is(err, cause) {
		t.Errorf("error %v of kind %q", err, KindOf(err))
	}
}

func TestErrorKeepsAzuresAnswer(t *testing.T) {
	denied := body(http.StatusForbidden, `{"error":{"code":"AuthorizationFailed","message":"no"}}`)
	_, inv := newFake(t, script{keys: []step{denied}})
	_, err := inv.Run(t.Context(), target, Request{RunID: testRun})
	resp, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || resp.ErrorCode != "AuthorizationFailed" {
		t.Fatalf("no ResponseError in %v", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
	for _, want := range []string{"function app skls-app: ", "listkeys/action"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func TestErrorNamesTheCall(t *testing.T) {
	_, inv := newFake(t, script{keys: []step{func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ms-correlation-request-id", "c-1")
		w.Header().Set("x-ms-request-id", "r-1")
		w.WriteHeader(http.StatusForbidden)
	}}})
	_, err := inv.Run(t.Context(), target, Request{RunID: testRun})
	if err == nil || !strings.Contains(err.Error(), "status 403 (correlation id c-1, request id r-1)") {
		t.Errorf("got %v, want both ids", err)
	}
}

func TestContextEnds(t *testing.T) {
	for _, where := range []string{"keys", "root", "post", "poll"} {
		t.Run(where, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := func(_ *fake, _ http.ResponseWriter, r *http.Request) {
				cancel()
				<-r.Context().Done()
			}
			s := script{post: []step{running()}}
			switch where {
			case "keys":
				s.keys = []step{stop}
			case "root":
				s.root = []step{stop}
			case "post":
				s.post = []step{stop}
			case "poll":
				s.poll = []step{stop}
			}
			f, inv := newFake(t, s)
			_, err := inv.Run(ctx, target, Request{RunID: testRun})
			if !errors.Is(err, context.Canceled) || KindOf(err) != "" {
				t.Errorf("error %v of kind %q", err, KindOf(err))
			}
			if f.total(where) != 1 {
				t.Errorf("%d calls", f.total(where))
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	good := Request{RunID: testRun}
	for name, c := range map[string]struct {
		t Target
		r Request
	}{
		"no app":             {Target{ResourceGroup: "rg", HostName: testHost}, good},
		"no resource group":  {Target{App: "a", HostName: testHost}, good},
		"no host":            {Target{ResourceGroup: "rg", App: "a"}, good},
		"host with path":     {Target{ResourceGroup: "rg", App: "a", HostName: "h/x"}, good},
		"host with user":     {Target{ResourceGroup: "rg", App: "a", HostName: "u@h"}, good},
		"no run id":          {target, Request{}},
		"run id with slash":  {target, Request{RunID: "a/b"}},
		"run id of dots":     {target, Request{RunID: ".."}},
		"traceparent":        {target, Request{RunID: testRun, Traceparent: "x\r\ny"}},
		"negative time-out ": {target, Request{RunID: testRun, Timeout: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			f, inv := newFake(t, script{post: []step{ended(0)}})
			if _, err := inv.Run(t.Context(), c.t, c.r); err == nil || KindOf(err) != "" {
				t.Errorf("error %v", err)
			}
			if f.total("keys")+f.total("root")+f.total("post") != 0 {
				t.Error("calls were made")
			}
		})
	}
	if _, err := New(Config{SubscriptionID: "sub"}); err == nil {
		t.Error("New without credential")
	}
	if _, err := New(Config{Credential: azuretest.Credential{}}); err == nil {
		t.Error("New without subscription")
	}
}

func TestTraceparent(t *testing.T) {
	a, b := NewTraceparent(), NewTraceparent()
	if a == b || !traceparentForm.MatchString(a) {
		t.Errorf("%q, %q", a, b)
	}
	if id := TraceID(a); len(id) != 32 || !strings.HasPrefix(a, "00-"+id+"-") {
		t.Errorf("trace id %q of %q", id, a)
	}
	if id := TraceID("nonsense"); id != "" {
		t.Errorf("trace id %q of nonsense", id)
	}
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for n := range 8 {
		got = append(got, backoff(n))
	}
	ms := time.Millisecond
	want := []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 10000 * ms, 10000 * ms}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
