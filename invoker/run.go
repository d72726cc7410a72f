package invoker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	keyHeader = "x-functions-key"

	// readyLimit bounds one request that asks whether the host is up.
	readyLimit = 30 * time.Second
	// startLimit bounds the POST. It is longer than the 230 s after which Azure cuts an answer off, so that Azure acts
	// first.
	startLimit = 240 * time.Second
	// cutAfter is the age of a request from which a gateway's error counts as Azure's cut.
	cutAfter = 220 * time.Second
	// pollMargin is the time that a poll may take beyond the wait it asks for.
	pollMargin = 30 * time.Second
	// timeoutMargin is the time that a run may take beyond its time limit, for azf-handler to end the command with TERM,
	// then KILL, and to answer.
	timeoutMargin = 30 * time.Second
	maxExitCode   = 255
	// maxLines bounds the part of a failure's body, in bytes, that becomes lines of output.
	maxLines = 64 << 10
)

// Run makes one run and blocks until the run has ended. It first waits up to Config.ReadyTimeout for the app to
// come up.
//
// A nil error means that the end of the run is known, including failed commands and time-outs. Otherwise the error
// is an *Error, a plain error for an invalid argument, or wraps ctx's error when ctx has ended. In the last case
// the run may go on, and Run with the same id joins it if the image holds azf-handler.
func (i *Invoker) Run(ctx context.Context, t Target, q Request) (Result, error) {
	if err := check(t, q); err != nil {
		return Result{}, err
	}
	r := &run{Invoker: i, t: t, q: q, readyBy: i.now().Add(i.readyTimeout)}
	// The key comes first: reading it also waits for the host, and a host that has a key soon answers.
	if _, err := i.key(ctx, t, r.readyBy); err != nil {
		return Result{}, err
	}
	if err := r.ready(ctx); err != nil {
		return Result{}, err
	}
	if q.Resume {
		return r.resume(ctx)
	}
	return r.start(ctx)
}

// resume follows a run that an earlier caller started, or was about to start.
func (r *run) resume(ctx context.Context) (Result, error) {
	r.started = r.now()
	if r.q.Timeout > 0 {
		r.deadline = r.started.Add(r.q.Timeout + timeoutMargin)
	}
	res, err := r.follow(ctx, r.q.Handler)
	if errors.Is(err, errForeign) {
		return Result{}, &Error{
			Kind: KindLost, App: r.t.App, Foreign: true,
			Message: "the daemon was stopped during the run, and only an image with azf-handler can be asked " +
				"about the end of a run; start the container again if it must run",
		}
	}
	return res, err
}

// run is one call of Run.
type run struct {
	*Invoker
	t       Target
	q       Request
	readyBy time.Time
	// started is the time of the last POST.
	started time.Time
	// deadline is the time at which the client stops waiting for the end of the run; zero means never.
	deadline time.Time
}

// ready waits until the host answers. The host may still fail afterwards: Azure may restart the container once more
// after creating the app.
func (r *run) ready(ctx context.Context) error {
	return r.retry(ctx, r.t, r.readyBy, func() *Error {
		a, err := r.call(ctx, r.t, request{method: http.MethodGet, path: "/", limit: readyLimit}, http.Header{})
		if err != nil {
			if e := dialError(r.t, err); e != nil {
				return e
			}
			return &Error{
				Kind: KindNetwork, App: r.t.App, Err: err, temporary: true,
				Message: "no answer from " + r.t.HostName + "; check network and proxy",
			}
		}
		if noHandler(a.status) {
			return r.notReady(a)
		}
		return front(r.t, a, false)
	})
}

// noHandler reports whether a status comes from a gateway, or from a host that is not up or is too busy. A busy host
// answers 429, with which host.json's HTTP throttles reject a request before any function runs:
// https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook
func noHandler(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (r *run) notReady(a answer) *Error {
	message := "the host did not come up within %s; look at the container's start-up log in the portal (Log stream)"
	if a.status == http.StatusTooManyRequests {
		message = "the host was too busy to take a request within %s; start fewer containers at a time on its " +
			"service plan, use a larger service plan, or raise the throttles in the image's host.json"
	}
	return &Error{
		Kind: KindNotReady, App: r.t.App, Message: fmt.Sprintf(message, r.readyTimeout), Err: statusError(a.status),
		temporary: true, retryAfter: retryAfter(a.header),
	}
}

// start sends the POST, repeats it while it is certain that nothing has started, and follows the run to its end.
func (r *run) start(ctx context.Context) (Result, error) {
	body, err := json.Marshal(protocol.StartRequest{
		RunID:          r.q.RunID,
		TimeoutSeconds: int((r.q.Timeout + time.Second - 1) / time.Second),
		WaitSeconds:    int(protocol.MaxWait / time.Second),
	})
	if err != nil {
		return Result{}, fmt.Errorf("encode start request: %w", err)
	}
	q := request{method: http.MethodPost, path: protocol.RunPath, body: body, limit: startLimit}
	if r.q.Timeout > 0 {
		q.limit = min(q.limit, r.q.Timeout+timeoutMargin)
	}
	var a answer
	var before, unknown error // of BeforeStart, and of post
	err = r.retry(ctx, r.t, r.readyBy, func() *Error {
		if r.q.BeforeStart != nil {
			if before = r.q.BeforeStart(ctx); before != nil {
				return nil
			}
		}
		var e *Error
		if a, e, unknown = r.post(ctx, q); e != nil && r.q.NotStarted != nil {
			r.q.NotStarted(ctx)
		}
		return e
	})
	switch {
	case before != nil:
		return Result{}, fmt.Errorf("before start: %w", before)
	case err != nil:
		return Result{}, err
	case ctx.Err() != nil:
		return Result{}, stopped(r.t, ctx.Err())
	case unknown != nil:
		return r.settle(ctx, a, unknown)
	case !a.ours():
		return r.foreign(a), nil
	}
	res, done, err := r.read(a)
	if err != nil || done {
		return res, err
	}
	return r.follow(ctx, true)
}

// post sends the request q that starts the run. notStarted means that the request certainly has started nothing.
// Without notStarted, unknown is the reason why it is unknown whether the run started.
func (r *run) post(ctx context.Context, q request) (a answer, notStarted *Error, unknown error) {
	r.started = r.now()
	if r.q.Timeout > 0 {
		r.deadline = r.started.Add(r.q.Timeout + timeoutMargin)
	}
	if a, unknown = r.send(ctx, q); unknown != nil {
		if errors.As(unknown, &notStarted) { // send failed to read the key again
			return a, notStarted, unknown
		}
		return a, dialError(r.t, unknown), unknown
	}
	refused := front(r.t, a, r.q.Handler)
	switch {
	case a.ours():
	case a.status == http.StatusUnauthorized && a.header.Get("Www-Authenticate") == "":
		notStarted = &Error{
			Kind: KindUnauthorized, App: r.t.App, Err: statusError(a.status),
			Message: "it refuses its own host key, even after the key was read again; " +
				"does it have authentication or access restrictions switched on?",
		}
	case a.status == http.StatusNotFound:
		notStarted = &Error{
			// A host that comes up answers before it has loaded its functions.
			Kind: KindNotFound, App: r.t.App, Err: statusError(a.status), temporary: r.q.Handler,
			Message: "it has no function that answers POST " + protocol.RunPath +
				"; check that the image has run/function.json in /home/site/wwwroot",
		}
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests:
		notStarted = r.notReady(a)
	case refused != nil:
		notStarted = refused
	case a.status == http.StatusInternalServerError, a.status == http.StatusBadGateway,
		a.status == http.StatusGatewayTimeout:
		unknown = statusError(a.status)
	case r.q.Handler:
		unknown = otherAnswer(a)
	}
	return a, notStarted, unknown
}

// send adds our headers to q and calls the app. After a 401, which the host answers before any function runs, it
// reads the key again and sends q once more.
func (r *run) send(ctx context.Context, q request) (answer, error) {
	for second := false; ; second = true {
		key, err := r.key(ctx, r.t, r.readyBy)
		if err != nil {
			return answer{}, err
		}
		header := http.Header{}
		header.Set(keyHeader, key)
		header.Set(protocol.RunIDHeader, r.q.RunID)
		header.Set(protocol.Header, protocol.Version)
		if r.q.Traceparent != "" {
			header.Set("traceparent", r.q.Traceparent)
		}
		if q.body != nil {
			header.Set("Content-Type", "application/json")
		}
		a, err := r.call(ctx, r.t, q, header)
		if err != nil || a.status != http.StatusUnauthorized || second {
			return a, err
		}
		r.forgetKey(r.t, key)
	}
}

// settle asks for the end of a run whose POST got no answer of a handler. a is the gateway's answer, if there is
// one, and failure the failure of the POST.
func (r *run) settle(ctx context.Context, a answer, failure error) (Result, error) {
	age := r.now().Sub(r.started)
	res, err := r.follow(ctx, r.q.Handler)
	switch {
	case !errors.Is(err, errForeign):
		return res, err
	case r.late():
		return r.timedOut(false), nil
	case a.status == http.StatusInternalServerError && age < cutAfter:
		return r.foreign(a), nil // too early for Azure's cut, so the handler itself answered
	}
	e := &Error{App: r.t.App, Err: failure, Foreign: true}
	const ask = "; whether the command ran is unknown, and only an image with azf-handler can be asked"
	switch {
	case age >= cutAfter:
		e.Kind, e.Message = KindCut, "the answer was cut off after 230 seconds"+ask
	case a.status != 0:
		e.Kind, e.Message = KindHostError, "the gateway answered in place of the host"+ask
	default:
		e.Kind, e.Message = KindNetwork, "the connection broke after the request was sent"+ask
	}
	return Result{}, e
}

// errForeign is follow's error when the image has a handler of its own.
var errForeign = errors.New("not azf-handler")

// follow polls azf-handler until the run has ended. known means that the app holds azf-handler. Until that is known, an
// answer without its header ends follow with errForeign.
func (r *run) follow(ctx context.Context, known bool) (Result, error) {
	quietBy := r.now().Add(r.readyTimeout)
	for n := 0; ; n++ {
		wait := protocol.MaxWait
		if !r.deadline.IsZero() {
			wait = min(wait, max(0, r.deadline.Sub(r.now())))
		}
		a, err := r.send(ctx, request{
			method: http.MethodGet, path: protocol.RunsPath + r.q.RunID,
			query: "wait=" + strconv.Itoa(int(wait/time.Second)), limit: wait + pollMargin,
		})
		switch {
		case ctx.Err() != nil:
			return Result{}, stopped(r.t, ctx.Err())
		case err == nil && a.ours():
			res, done, err := r.read(a)
			if err != nil || done {
				return res, err
			}
			known, n, quietBy = true, 0, r.now().Add(r.readyTimeout)
		case err == nil && !known && !noHandler(a.status):
			return Result{}, errForeign
		case err == nil && noHandler(a.status):
			err = statusError(a.status)
		case err == nil:
			err = otherAnswer(a)
			if refused := front(r.t, a, true); refused != nil {
				err = fmt.Errorf("%s: %w", refused.Message, refused.Err)
			}
		}
		switch {
		case r.late():
			return r.timedOut(known), nil
		case err != nil && r.now().Add(backoff(n)).After(quietBy):
			return Result{}, &Error{
				Kind: KindLost, App: r.t.App, Err: err,
				Message: fmt.Sprintf("the run was sent, but the app did not answer for %s, so the end of the run is unknown; "+
					"look at the container's logs, or start it again", r.readyTimeout),
			}
		case err != nil:
			r.log.Debug().Str("app", r.t.App).Str("run_id", r.q.RunID).AnErr("cause", err).
				Msg("function app does not answer a poll")
		}
		if err := r.sleep(ctx, backoff(n)); err != nil {
			return Result{}, stopped(r.t, err)
		}
	}
}

// read decodes an answer of azf-handler. done reports whether the run has ended.
func (r *run) read(a answer) (res Result, done bool, err error) {
	fail := func(kind Kind, message string, err error) (Result, bool, error) {
		return Result{}, false, &Error{Kind: kind, App: r.t.App, Message: message, Err: err}
	}
	switch v := a.header.Get(protocol.Header); {
	case !protocol.Known(v):
		return fail(KindHostError, fmt.Sprintf("its azf-handler speaks protocol version %q and this daemon 1 to %s; "+
			"build the image with the azf-handler of the daemon's release", v, protocol.Version), nil)
	case a.status == http.StatusNotFound:
		return fail(KindLost, "azf-handler does not know the run: it was restarted during the run, or never got it; "+
			"start the container again", nil)
	case a.status != http.StatusOK && a.status != http.StatusAccepted:
		var b protocol.ErrorBody
		_ = json.Unmarshal(a.body, &b) // a body of another form has no message to show
		return fail(KindHostError, "azf-handler refused the run: "+b.Message, statusError(a.status))
	case a.truncated:
		return fail(KindHostError, fmt.Sprintf("its answer is larger than %d MiB; lower the image's %s",
			maxBody>>20, protocol.OutputLimitEnv), nil)
	}
	var p protocol.Run
	if err := json.Unmarshal(a.body, &p); err != nil {
		return fail(KindHostError, "azf-handler's answer cannot be read; is there a proxy that changes it?",
			fmt.Errorf("decode run: %w", err))
	}
	switch {
	case p.RunID != r.q.RunID:
		return fail(KindHostError, fmt.Sprintf("azf-handler answered for run %q", p.RunID), nil)
	case p.ExitCode < 0 || p.ExitCode > maxExitCode:
		return fail(KindHostError, fmt.Sprintf("azf-handler answered exit code %d, which no command has; "+
			"is there a proxy that changes it?", p.ExitCode), nil)
	}
	return Result{
		ExitCode: p.ExitCode, Error: p.Error, StartedAt: p.StartedAt, FinishedAt: p.FinishedAt,
		Lines: p.Lines, Truncated: p.Truncated, Protocol: true,
	}, p.Done, nil
}

// foreign returns the result for the answer of an image's own handler.
func (r *run) foreign(a answer) Result {
	res := Result{StartedAt: r.started, FinishedAt: r.now(), Truncated: a.truncated, Body: a.body}
	if a.status >= 200 && a.status < 300 {
		return res
	}
	res.ExitCode = 1
	res.Error = fmt.Sprintf("the handler answered status %d", a.status)
	head := a.body
	if len(head) > maxLines {
		head, res.Truncated = head[:maxLines], true
	}
	for content := range bytes.Lines(head) {
		line := protocol.LineOf(content)
		line.Stream, line.Seq, line.Time = protocol.Stderr, len(res.Lines)+1, res.FinishedAt
		res.Lines = append(res.Lines, line)
	}
	return res
}

// late reports whether the deadline has passed.
func (r *run) late() bool { return !r.deadline.IsZero() && !r.now().Before(r.deadline) }

func (r *run) timedOut(ours bool) Result {
	return Result{
		ExitCode:  protocol.ExitTimeout,
		Error:     fmt.Sprintf("the run had not ended %s after its time limit of %s", timeoutMargin, r.q.Timeout),
		StartedAt: r.started, FinishedAt: r.now(), Truncated: true, Protocol: ours,
	}
}

// statusError is the cause of an Error for an HTTP status.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("status %d %s", int(s), http.StatusText(int(s)))
}
