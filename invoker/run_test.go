package invoker

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// TestRun has one row for each course of an invocation.
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
	theirs := []step{status(http.StatusNotFound)} // a host's answer to /api/runs/{id} without azf-handler
	redirect := func(_ *fake, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
	}
	another := func(_ *fake, w http.ResponseWriter, _ *http.Request) { w.Header().Set(protocol.Header, "3") }

	for _, c := range []struct {
		name    string
		script  script
		timeout time.Duration
		known   bool // whether the app is known to hold azf-handler

		kind     Kind // of the error, "" when there is none
		exit     int
		protocol bool
		posts    int // the total number
		polls    int
		keyReads int
	}{
		{name: "azf-handler answers at once", script: script{post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},
		{name: "the command fails", script: script{post: []step{ended(42)}}, exit: 42, protocol: true, posts: 1, keyReads: 1},
		{
			name:   "a long run is polled",
			script: script{post: []step{running()}, poll: []step{running(), running(), ended(3)}}, exit: 3, protocol: true,
			posts: 1, polls: 3, keyReads: 1,
		},
		{
			name:     "polls survive a gateway, a break and a 404 of the host",
			script:   script{post: []step{running()}, poll: []step{status(502), broken, status(503), status(404), ended(0)}},
			protocol: true, posts: 1, polls: 5, keyReads: 1,
		},
		{
			name: "the handler is gone for good", script: script{post: []step{running()}, poll: []step{status(503)}},
			kind: KindLost, posts: 1, polls: 11, keyReads: 1,
		},
		{
			name:   "the handler was restarted",
			script: script{post: []step{running()}, poll: []step{handler(404, protocol.ErrorBody{Message: "unknown run"})}},
			kind:   KindLost, posts: 1, polls: 1, keyReads: 1,
		},

		{
			name: "keys are not there until the host is up",
			script: script{
				keys: []step{status(400), status(500), status(503), status(404), keys(""), keys(testKey)},
				post: []step{ended(0)},
			},
			protocol: true, posts: 1, keyReads: 6,
		},
		{name: "keys never come", script: script{keys: []step{status(400)}}, kind: KindNotReady, keyReads: 11},
		{name: "keys are refused", script: script{keys: []step{status(403)}}, kind: KindUnauthorized, keyReads: 11},
		{
			name:   "the role of the daemon is new",
			script: script{keys: []step{status(403), status(403), keys(testKey)}, post: []step{ended(0)}}, protocol: true,
			posts: 1, keyReads: 3,
		},
		{
			name: "the app is stopped", script: script{keys: []step{status(400)}, root: []step{stoppedPage}}, kind: KindRefused,
			keyReads: 1,
		},
		{
			name: "the app is stopped, and its key is known", script: script{root: []step{stoppedPage}}, kind: KindRefused,
			keyReads: 1,
		},
		{name: "restrictions", script: script{root: []step{forbidden}}, kind: KindRefused, keyReads: 1},
		{name: "authentication", script: script{root: []step{login}}, kind: KindRefused, keyReads: 1},
		{name: "authentication with 401", script: script{root: []step{challenge}}, kind: KindRefused, keyReads: 1},
		{
			name: "the app does not exist", script: script{keys: []step{after(3*time.Minute, status(404))}},
			kind: KindNotFound, keyReads: 1,
		},
		{
			name:   "Azure Resource Manager breaks off",
			script: script{keys: []step{broken, keys(testKey)}, post: []step{ended(0)}}, protocol: true, posts: 1,
			keyReads: 2,
		},
		{name: "Azure Resource Manager never answers", script: script{keys: []step{broken}}, kind: KindNetwork, keyReads: 11},

		{
			name:     "the host starts slowly",
			script:   script{root: []step{status(503), status(502), broken, status(200)}, post: []step{ended(0)}},
			protocol: true, posts: 1, keyReads: 1,
		},
		{name: "the host never starts", script: script{root: []step{status(503)}}, kind: KindNotReady, keyReads: 1},
		{
			name:   "the host does not listen at first",
			script: script{dial: firstTwo(refused), post: []step{ended(0)}}, protocol: true,
			posts: 1, keyReads: 1,
		},
		{name: "the host never listens", script: script{dial: always(refused)}, kind: KindNetwork, keyReads: 1},
		{
			name: "the name comes late", script: script{dial: firstTwo(nxdomain), post: []step{ended(0)}}, protocol: true,
			posts: 1, keyReads: 1,
		},
		{name: "the name never comes", script: script{dial: always(nxdomain)}, kind: KindNetwork, keyReads: 1},
		{
			name: "the host restarts after it was ready", script: script{post: []step{status(503), status(503), ended(0)}},
			protocol: true, posts: 3, keyReads: 1,
		},
		{
			name: "the host goes down after it was ready", script: script{post: []step{status(503)}}, kind: KindNotReady,
			posts: 11, keyReads: 1,
		},
		{
			name:   "the host is too busy",
			script: script{root: []step{status(429), status(200)}, post: []step{status(429), ended(0)}}, protocol: true,
			posts: 2, keyReads: 1,
		},
		{
			name: "the host stays too busy", script: script{post: []step{status(429)}}, kind: KindNotReady, posts: 11,
			keyReads: 1,
		},
		{
			name:   "connection breaks, and the host is too busy",
			script: script{post: []step{broken}, poll: []step{status(429), ended(5)}}, exit: 5, protocol: true, posts: 1,
			polls: 2, keyReads: 1,
		},
		{name: "the host does not listen for the POST", script: script{dial: func(n int) error {
			if n == 2 {
				return refused
			}
			return nil
		}, post: []step{ended(0)}}, protocol: true, posts: 1, keyReads: 1},

		{
			name:   "an old key is read again",
			script: script{keys: []step{keys("old"), keys(testKey)}, post: []step{status(401), ended(0)}}, protocol: true,
			posts: 2, keyReads: 2,
		},
		{
			name: "the key is refused", script: script{post: []step{status(401)}}, kind: KindUnauthorized, posts: 2,
			keyReads: 2,
		},
		{
			name: "the key changes in a run", script: script{post: []step{running()}, poll: []step{status(401), ended(0)}},
			protocol: true, posts: 1, polls: 2, keyReads: 2,
		},
		{name: "no such function", script: script{post: []step{status(404)}}, kind: KindNotFound, posts: 1, keyReads: 1},

		{
			name:   "cut at 230 s, the run goes on",
			script: script{post: []step{after(230*time.Second, status(502))}, poll: []step{running(), ended(7)}}, exit: 7,
			protocol: true, posts: 1, polls: 2, keyReads: 1,
		},
		{
			name: "cut with 500", script: script{post: []step{after(230*time.Second, status(500))}, poll: []step{ended(0)}},
			protocol: true, posts: 1, polls: 1, keyReads: 1,
		},
		{
			name:     "cut with 504, then unreachable for a while",
			script:   script{post: []step{after(230*time.Second, status(504))}, poll: []step{status(503), broken, ended(0)}},
			protocol: true, posts: 1, polls: 3, keyReads: 1,
		},
		{
			name: "connection breaks", script: script{post: []step{broken}, poll: []step{ended(5)}}, exit: 5, protocol: true,
			posts: 1, polls: 1, keyReads: 1,
		},
		{
			name:   "connection breaks and the handler restarts",
			script: script{post: []step{broken}, poll: []step{status(503), handler(404, protocol.ErrorBody{})}},
			kind:   KindLost, posts: 1, polls: 2, keyReads: 1,
		},
		{
			name: "the client's limit passes", script: script{post: []step{expired}, poll: []step{ended(0)}}, protocol: true,
			posts: 1, polls: 1, keyReads: 1,
		},
		{
			name: "early 502 of a gateway", script: script{post: []step{status(502)}, poll: []step{ended(0)}},
			protocol: true, posts: 1, polls: 1, keyReads: 1,
		},

		{name: "own handler, success", script: script{post: []step{status(202)}}, posts: 1, keyReads: 1},
		{name: "own handler, failure", script: script{post: []step{status(418)}}, exit: 1, posts: 1, keyReads: 1},
		{
			name: "own handler, redirect is not followed", script: script{post: []step{redirect}}, exit: 1,
			posts: 1, keyReads: 1,
		},
		{
			name: "own handler, 500 of its own", script: script{post: []step{status(500)}, poll: theirs}, exit: 1, posts: 1,
			polls: 1, keyReads: 1,
		},
		{
			name: "own handler, cut", script: script{post: []step{after(230*time.Second, status(502))}, poll: theirs},
			kind: KindCut, posts: 1, polls: 1, keyReads: 1,
		},
		{
			name:   "own handler, cut with 500",
			script: script{post: []step{after(230*time.Second, status(500))}, poll: theirs}, kind: KindCut, posts: 1,
			polls: 1, keyReads: 1,
		},
		{
			name:   "own handler, the client's limit passes",
			script: script{post: []step{after(240*time.Second, expired)}, poll: theirs}, kind: KindCut, posts: 1, polls: 1,
			keyReads: 1,
		},
		{
			name: "own handler, early 502", script: script{post: []step{status(502)}, poll: theirs}, kind: KindHostError,
			posts: 1, polls: 1, keyReads: 1,
		},
		{
			name: "own handler, connection breaks", script: script{post: []step{broken}, poll: theirs}, kind: KindNetwork,
			posts: 1, polls: 1, keyReads: 1,
		},
		{
			name: "own handler, time-out", script: script{post: []step{after(60*time.Second, expired)}, poll: theirs},
			timeout: 30 * time.Second, exit: 124, posts: 1, polls: 1, keyReads: 1,
		},

		{
			name: "own handler, the app is stopped", script: script{post: []step{stoppedPage}}, kind: KindRefused, posts: 1,
			keyReads: 1,
		},
		{
			name: "own handler, restrictions", script: script{post: []step{forbidden}}, kind: KindRefused, posts: 1,
			keyReads: 1,
		},
		{name: "own handler, login", script: script{post: []step{login}}, kind: KindRefused, posts: 1, keyReads: 1},
		{name: "own handler, 401", script: script{post: []step{challenge}}, kind: KindRefused, posts: 2, keyReads: 2},
		{name: "own handler, 403 of its own", script: script{post: []step{status(403)}}, exit: 1, posts: 1, keyReads: 1},

		{
			name: "azf-handler, redirect", known: true, script: script{post: []step{redirect}}, kind: KindRefused, posts: 1,
			keyReads: 1,
		},
		{
			name: "azf-handler, 403", known: true, script: script{post: []step{status(403)}}, kind: KindRefused, posts: 1,
			keyReads: 1,
		},
		{
			name: "azf-handler, 418", known: true, script: script{post: []step{status(418)}}, kind: KindRefused, posts: 1,
			keyReads: 1,
		},
		{
			name: "azf-handler, 404 until the host has its functions", known: true,
			script: script{post: []step{status(404), status(404), ended(0)}}, protocol: true, posts: 3, keyReads: 1,
		},
		{
			name: "azf-handler, a page in place of its answer", known: true,
			script: script{post: []step{status(200)}, poll: []step{status(200), ended(5)}}, exit: 5, protocol: true, posts: 1,
			polls: 2, keyReads: 1,
		},
		{
			name: "azf-handler, a page in place of every answer", known: true,
			script: script{post: []step{status(200)}, poll: []step{status(200)}}, kind: KindLost, posts: 1, polls: 11,
			keyReads: 1,
		},
		{
			name: "azf-handler, 500 in place of every answer", known: true,
			script: script{post: []step{status(500)}, poll: []step{status(500)}}, kind: KindLost, posts: 1, polls: 11,
			keyReads: 1,
		},
		{
			name: "azf-handler, page in place of the answer, and the handler has no run", known: true,
			script: script{post: []step{status(202)}, poll: []step{handler(404, protocol.ErrorBody{})}}, kind: KindLost,
			posts: 1, polls: 1, keyReads: 1,
		},
		{
			name: "azf-handler, early 502 and no answer", known: true,
			script: script{post: []step{status(502)}, poll: []step{status(200), status(404), ended(0)}}, protocol: true,
			posts: 1, polls: 3, keyReads: 1,
		},
		{
			name: "azf-handler, the app is stopped during the run", known: true,
			script: script{post: []step{running()}, poll: []step{stoppedPage}}, kind: KindLost, posts: 1, polls: 11, keyReads: 1,
		},

		{
			name: "time-out by the handler", script: script{post: []step{ended(124)}}, timeout: time.Minute, exit: 124,
			protocol: true, posts: 1, keyReads: 1,
		},
		{
			name:    "time-out that the handler forgets",
			script:  script{post: []step{running()}, poll: []step{after(time.Minute, running()), after(time.Minute, running())}},
			timeout: time.Minute, exit: 124, protocol: true, posts: 1, polls: 2, keyReads: 1,
		},

		{
			name:   "the handler refuses",
			script: script{post: []step{handler(400, protocol.ErrorBody{Message: "no command"})}}, kind: KindHostError,
			posts: 1, keyReads: 1,
		},
		{name: "unknown protocol", script: script{post: []step{another}}, kind: KindHostError, posts: 1, keyReads: 1},
		{
			name:   "answer of another run",
			script: script{post: []step{handler(200, protocol.Run{RunID: "other", Done: true})}}, kind: KindHostError,
			posts: 1, keyReads: 1,
		},
		{
			name: "answer that is not a run", script: script{post: []step{handler(200, "hello")}}, kind: KindHostError,
			posts: 1, keyReads: 1,
		},
		{name: "no such exit code", script: script{post: []step{ended(256)}}, kind: KindHostError, posts: 1, keyReads: 1},
		{
			name: "answer too large", script: script{post: []step{handler(200, strings.Repeat("x", maxBody))}},
			kind: KindHostError, posts: 1, keyReads: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, inv := newFake(t, c.script)
			res, err := inv.Run(t.Context(), target, Request{RunID: testRun, Timeout: c.timeout, Handler: c.known})
			if KindOf(err) != c.kind || (err == nil) != (c.kind == "") {
				t.Fatalf("error %v of kind %q, want kind %q", err, KindOf(err), c.kind)
			}
			if res.ExitCode != c.exit || res.Protocol != c.protocol {
				t.Errorf("exit code %d, protocol %t, want %d, %t", res.ExitCode, res.Protocol, c.exit, c.protocol)
			}
			if unknown := err == nil && c.exit == protocol.ExitTimeout && res.Lines == nil; res.Truncated != unknown {
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
