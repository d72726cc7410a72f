package invoker

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	maxBody  = 16 << 20
	minDelay = 250 * time.Millisecond
	maxDelay = 10 * time.Second
)

// backoff returns the delay after the nth failure in a row, counted from 0.
func backoff(n int) time.Duration {
	if n > 5 {
		return maxDelay
	}
	return min(minDelay<<n, maxDelay)
}

// retry calls try until try succeeds, fails permanently, or the next call would be later than until. The error is
// try's last *Error, or wraps ctx's error.
func (i *Invoker) retry(ctx context.Context, t Target, until time.Time, try func() *Error) error {
	for n := 0; ; n++ {
		e := try()
		switch {
		case e == nil:
			return nil
		case ctx.Err() != nil:
			return stopped(t, ctx.Err())
		case !e.temporary:
			return e
		}
		delay := max(backoff(n), e.retryAfter)
		if i.now().Add(delay).After(until) {
			return e
		}
		level := zerolog.DebugLevel
		if e.Kind == KindUnauthorized && n == 0 {
			level = zerolog.WarnLevel // who has forgotten the role need not wait to learn it
		}
		i.log.WithLevel(level).Str("app", t.App).Str("kind", string(e.Kind)).AnErr("cause", e.Err).Dur("delay", delay).
			Msg("function app takes no run yet")
		if err := i.sleep(ctx, delay); err != nil {
			return stopped(t, err)
		}
	}
}

func stopped(t Target, err error) error { return fmt.Errorf("invoke function app %s: %w", t.App, err) }

// answer is a response with at most maxBody bytes of its body.
type answer struct {
	status    int
	header    http.Header
	body      []byte
	truncated bool
}

// ours reports whether azf-handler answered.
func (a answer) ours() bool { return a.header.Get(protocol.Header) != "" }

// request is one HTTP request to an app.
type request struct {
	method, path, query string
	body                []byte
	// limit bounds the request, including the body of its answer.
	limit time.Duration
}

// call sends q with header and returns the answer.
func (i *Invoker) call(ctx context.Context, t Target, q request, header http.Header) (answer, error) {
	ctx, cancel := i.withTimeout(ctx, q.limit)
	defer cancel()
	u := url.URL{Scheme: "https", Host: t.HostName, Path: q.path, RawQuery: q.query}
	// For a bytes.Reader net/http sends Content-Length. Functions hosts may drop a chunked body.
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), bytes.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	req.Header = header
	// A reused connection may belong to a host that has been restarted since. When a POST fails on such a connection, it
	// is unknown whether the run started.
	req.Close = true
	resp, err := i.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	_ = resp.Body.Close() // a body that was only read has nothing to lose
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: body}
	if len(body) > maxBody {
		a.body, a.truncated = body[:maxBody], true
	}
	// The host passes all headers on, so a handler that echoes them would carry the key into output and errors.
	if key := header.Get(keyHeader); key != "" {
		a.body = bytes.ReplaceAll(a.body, []byte(key), []byte("[host key]"))
	}
	return a, nil
}

// dialError returns the Error for an err of call that means that the app has received no request. It returns nil
// for any other err.
func dialError(t Target, err error) *Error {
	op, isOp := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isCert:
		return &Error{
			Kind: KindNetwork, App: t.App, Err: err,
			Message: "its TLS certificate is not trusted; check " + t.HostName + " and proxies on the way",
		}
	case isDNS:
		return &Error{
			Kind: KindNetwork, App: t.App, Err: err, temporary: true,
			Message: "its host name " + t.HostName + " cannot be resolved; check DNS, or whether the app was deleted",
		}
	case isOp && (op.Op == "dial" || op.Op == "proxyconnect"):
		return &Error{
			Kind: KindNetwork, App: t.App, Err: err, temporary: true,
			Message: "no connection to " + t.HostName + "; check network, proxy and access restrictions of the app",
		}
	}
	return nil
}
