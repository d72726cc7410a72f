package invoker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// TestRun has one row for each way an invocation can go.
func TestRun(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	nxdomain := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: testHost, IsNotFound: true}}
	firstTwo := func(err error) func(int) error {
		return func(n int) error {
			if n <= 2 {
				return err
			}
			return nil
		}
	}
	always := func(err error) func(int) error { return func(int) error { return err } }
	theirs := []step{status(http.StatusNotFound)} // what a host answers for /api/runs/{id} without azf-handler

	for _, c := range []struct {
		name    string
		script  script
		timeout time.Duration

		kind     Kind // of the error, "" when there is none
		exit     int
		protocol bool
		posts    int // sent in all
		polls    int
		keyReads int
	}{
		{name: "azf-handler answers at once", script: script{post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},
		{name: "the command fails", script: script{post: []step{ended(42)}}, exit: 42, protocol: true, posts: 1, keyReads: 1},
		{name: "a long run is polled", script: script{post: []step{running()}, poll: []step{running(), running(), ended(3)}}, exit: 3, protocol: true, posts: 1, polls: 3, keyReads: 1},
		{name: "polls survive a gateway, a break and a 404 of the host", script: script{post: []step{running()}, poll: []step{status(502), broken, status(503), status(404), ended(0)}}, protocol: true, posts: 1, polls: 5, keyReads: 1},
		{name: "the handler is gone for good", script: script{post: []step{running()}, poll: []step{status(503)}}, kind: KindLost, posts: 1, polls: 11, keyReads: 1},
		{name: "the handler was restarted", script: script{post: []step{running()}, poll: []step{handler(404, protocol.ErrorBody{Message: "unknown run"})}}, kind: KindLost, posts: 1, polls: 1, keyReads: 1},

		{name: "keys are not there until the host is up", script: script{keys: []step{status(400), status(500), status(503), status(404), keys(""), keys(testKey)}, post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 6},
		{name: "keys never come", script: script{keys: []step{status(400)}}, kind: KindNotReady, keyReads: 11},
		{name: "keys are refused", script: script{keys: []step{status(403)}}, kind: KindUnauthorized, keyReads: 1},
		{name: "the app does not exist", script: script{keys: []step{after(3*time.Minute, status(404))}}, kind: KindNotFound, keyReads: 1},
		{name: "Azure Resource Manager breaks off", script: script{keys: []step{broken, keys(testKey)}, post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 2},
		{name: "Azure Resource Manager never answers", script: script{keys: []step{broken}}, kind: KindNetwork, keyReads: 11},

		{name: "the host starts slowly", script: script{root: []step{status(503), status(502), broken, status(200)}, post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},
		{name: "the host never starts", script: script{root: []step{status(503)}}, kind: KindNotReady, keyReads: 1},
		{name: "nobody listens at first", script: script{dial: firstTwo(refused), post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},
		{name: "nobody ever listens", script: script{dial: always(refused)}, kind: KindNetwork, keyReads: 1},
		{name: "the name comes late", script: script{dial: firstTwo(nxdomain), post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},
		{name: "the name never comes", script: script{dial: always(nxdomain)}, kind: KindNetwork, keyReads: 1},
		{name: "the host restarts after it was ready", script: script{post: []step{status(503), status(503), ended(0)}}, protocol: true, posts: 3, keyReads: 1},
		{name: "the host goes down after it was ready", script: script{post: []step{status(503)}}, kind: KindNotReady, posts: 11, keyReads: 1},
		{name: "the host is too busy", script: script{root: []step{status(429), status(200)}, post: []step{status(429), ended(0)}}, protocol: true, posts: 2, keyReads: 1},
		{name: "the host stays too busy", script: script{post: []step{status(429)}}, kind: KindNotReady, posts: 11, keyReads: 1},
		{name: "connection breaks, and the host is too busy", script: script{post: []step{broken}, poll: []step{status(429), ended(5)}}, exit: 5, protocol: true, posts: 1, polls: 2, keyReads: 1},
		{name: "nobody listens for the POST", script: script{dial: func(n int) error {
			if n == 2 {
				return refused
			}
			return nil
		}, post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},

		{name: "an old key is read anew", script: script{keys: []step{keys("old"), keys(testKey)}, post: []step{status(401), ended(0)}}, protocol: true, posts: 2, keyReads: 2},
		{name: "the key is refused", script: script{post: []step{status(401)}}, kind: KindUnauthorized, posts: 2, keyReads: 2},
		{name: "the key changes in a run", script: script{post: []step{running()}, poll: []step{status(401), ended(0)}}, protocol: true, posts: 1, polls: 2, keyReads: 2},
		{name: "no such function", script: script{post: []step{status(404)}}, kind: KindNotFound, posts: 1, keyReads: 1},

		{name: "cut at 230 s, the run goes on", script: script{post: []step{after(230*time.Second, status(502))}, poll: []step{running(), ended(7)}}, exit: 7, protocol: true, posts: 1, polls: 2, keyReads: 1},
		{name: "cut with 500", script: script{post: []step{after(230*time.Second, status(500))}, poll: []step{ended(0)}}, protocol: true, posts: 1, polls: 1, keyReads: 1},
		{name: "cut with 504, then unreachable for a while", script: script{post: []step{after(230*time.Second, status(504))}, poll: []step{status(503), broken, ended(0)}}, protocol: true, posts: 1, polls: 3, keyReads: 1},
		{name: "connection breaks", script: script{post: []step{broken}, poll: []step{ended(5)}}, exit: 5, protocol: true, posts: 1, polls: 1, keyReads: 1},
		{name: "connection breaks and the handler restarts", script: script{post: []step{broken}, poll: []step{status(503), handler(404, protocol.ErrorBody{})}}, kind: KindLost, posts: 1, polls: 2, keyReads: 1},
		{name: "the client's limit passes", script: script{post: []step{expired}, poll: []step{ended(0)}}, protocol: true, posts: 1, polls: 1, keyReads: 1},
		{name: "early 502 of a gateway", script: script{post: []step{status(502)}, poll: []step{ended(0)}}, protocol: true, posts: 1, polls: 1, keyReads: 1},

		{name: "own handler, success", script: script{post: []step{status(202)}}, posts: 1, keyReads: 1},
		{name: "own handler, failure", script: script{post: []step{status(418)}}, exit: 1, posts: 1, keyReads: 1},
		{name: "own handler, redirect is not followed", script: script{post: []step{func(_ *fake, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		}}}, exit: 1, posts: 1, keyReads: 1},
		{name: "own handler, 500 of its own", script: script{post: []step{status(500)}, poll: theirs}, exit: 1, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, cut", script: script{post: []step{after(230*time.Second, status(502))}, poll: theirs}, kind: KindCut, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, cut with 500", script: script{post: []step{after(230*time.Second, status(500))}, poll: theirs}, kind: KindCut, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, the client's limit passes", script: script{post: []step{after(240*time.Second, expired)}, poll: theirs}, kind: KindCut, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, early 502", script: script{post: []step{status(502)}, poll: theirs}, kind: KindHostError, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, connection breaks", script: script{post: []step{broken}, poll: theirs}, kind: KindNetwork, posts: 1, polls: 1, keyReads: 1},
		{name: "own handler, time-out", script: script{post: []step{after(60*time.Second, expired)}, poll: theirs}, timeout: 30 * time.Second, exit: 124, posts: 1, polls: 1, keyReads: 1},

		{name: "time-out by the handler", script: script{post: []step{ended(124)}}, timeout: time.Minute, exit: 124, protocol: true, posts: 1, keyReads: 1},
		{name: "time-out that the handler forgets", script: script{post: []step{running()}, poll: []step{after(time.Minute, running()), after(time.Minute, running())}}, timeout: time.Minute, exit: 124, protocol: true, posts: 1, polls: 2, keyReads: 1},

		{name: "the handler refuses", script: script{post: []step{handler(400, protocol.ErrorBody{Message: "no command"})}}, kind: KindHostError, posts: 1, keyReads: 1},
		{name: "unknown protocol", script: script{post: []step{func(_ *fake, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(protocol.Header, "2")
		}}}, kind: KindHostError, posts: 1, keyReads: 1},
		{name: "answer of another run", script: script{post: []step{handler(200, protocol.Run{RunID: "other", Done: true})}}, kind: KindHostError, posts: 1, keyReads: 1},
		{name: "answer that is no run", script: script{post: []step{handler(200, "hello")}}, kind: KindHostError, posts: 1, keyReads: 1},
		{name: "no such exit code", script: script{post: []step{ended(256)}}, kind: KindHostError, posts: 1, keyReads: 1},
		{name: "answer too large", script: script{post: []step{handler(200, strings.Repeat("x", maxBody))}}, kind: KindHostError, posts: 1, keyReads: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, inv := newFake(t, c.script)
			res, err := inv.Run(t.Context(), target, Request{RunID: testRun, Timeout: c.timeout})
			if KindOf(err) != c.kind || (err == nil) != (c.kind == "") {
				t.Fatalf("error %v of kind %q, want kind %q", err, KindOf(err), c.kind)
			}
			if res.ExitCode != c.exit || res.Protocol != c.protocol {
				t.Errorf("exit code %d, protocol %t, want %d, %t", res.ExitCode, res.Protocol, c.exit, c.protocol)
			}
			if unknown := err == nil && c.exit == exitTimeout && res.Lines == nil; res.Truncated != unknown {
				t.Errorf("truncated %t with %d lines", res.Truncated, len(res.Lines))
			}
			got, want := []int{f.total("post"), f.total("poll"), f.total("keys")}, []int{c.posts, c.polls, c.keyReads}
			if !cmp.Equal(got, want) {
				t.Errorf("posts, polls, key reads: %v, want %v", got, want)
			}
			if all := fmt.Sprintf("%v %+v %#v %s", err, res, err, f.logs.String()); strings.Contains(all, testKey) {
				t.Errorf("the host key leaks: %s", all)
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	f, inv := newFake(t, script{post: []step{running()}, poll: []step{ended(0)}})
	trace := NewTraceparent()
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun, Traceparent: trace, Timeout: 90*time.Second + time.Millisecond}); err != nil {
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
	// listkeys, GET /, POST, poll; a run with a limit is not waited for much longer than that.
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
				{Stream: protocol.Stderr, Seq: 1, Time: end, Text: "bad\uFFFD"},
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
	inv.Forget(Target{ResourceGroup: "RG", App: "SKLS-app"}) // Azure's names know no case
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
	inv, err := New(Config{Credential: credential{err: cause}, SubscriptionID: "sub", Transport: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = inv.Run(t.Context(), target, Request{RunID: testRun})
	if KindOf(err) != KindUnauthorized || !errors.Is(err, cause) {
		t.Errorf("error %v of kind %q", err, KindOf(err))
	}
}

func TestErrorKeepsAzuresAnswer(t *testing.T) {
	_, inv := newFake(t, script{keys: []step{body(http.StatusForbidden, `{"error":{"code":"AuthorizationFailed","message":"no"}}`)}})
	_, err := inv.Run(t.Context(), target, Request{RunID: testRun})
	resp, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || resp.ErrorCode != "AuthorizationFailed" {
		t.Fatalf("no ResponseError in %v", err)
	}
	if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "function app skls-app: ") || !strings.Contains(s, "listkeys/action") {
		t.Errorf("error text %q", s)
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
	if _, err := New(Config{Credential: credential{}}); err == nil {
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
	if d := cmp.Diff([]time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 10000 * ms, 10000 * ms}, got); d != "" {
		t.Error(d)
	}
}
