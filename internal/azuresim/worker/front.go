package worker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
)

// target is where a container answers.
type target struct{ address string }

// errCut ends a request whose answer takes too long.
var errCut = errors.New("the response took too long")

// ServeHTTP answers one request to the app's host name. The front end gives up after the response cut. What the
// container does goes on.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := a.target.Load()
	if to == nil || !a.begin() {
		notRunning(w)
		return
	}
	defer a.active.Done()
	ctx, cancel := context.WithTimeoutCause(r.Context(), a.cfg.ResponseCut, errCut)
	defer cancel()
	proxy := httputil.ReverseProxy{
		Transport: a.client.Transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", to.address
			p.Out.URL.RawQuery = p.In.URL.RawQuery // what cannot be parsed, too
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if errors.Is(context.Cause(ctx), errCut) {
				const message = "The specified CGI application encountered an error and the server terminated the process."
				http.Error(w, message, http.StatusBadGateway)
				return
			}
			notRunning(w)
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

func notRunning(w http.ResponseWriter) {
	http.Error(w, "Function host is not running.", http.StatusServiceUnavailable)
}
