package azuresim

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// ProxyURL is an HTTP proxy, http://127.0.0.1:PORT, for clients that take one from HTTPS_PROXY. It leads every host
// name of the simulated Azure to the simulator, as Transport does, and refuses all others. Clients reach the simulator
// itself without it.
func (s *Sim) ProxyURL() string { return s.proxyURL }

// serveProxy answers CONNECT.
func (s *Sim) serveProxy(w http.ResponseWriter, r *http.Request) {
	if !s.begin(w) {
		return
	}
	defer s.work.Done()
	host := hostOnly(r.Host)
	app, isApp := appOfHost(host)
	if r.Method != http.MethodConnect || !isApp && !isPrivateRegistry(host) {
		http.Error(w, "azuresim has no "+host, http.StatusForbidden)
		return
	}
	if isApp && !s.hasSite(app) {
		http.Error(w, "no such host: "+host, http.StatusBadGateway)
		return
	}
	upstream, err := net.Dial("tcp", s.Registry())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.log.Error().Err(errors.Join(err, upstream.Close())).Msg("take over a proxied connection")
		return
	}
	s.tunnel(client, upstream, buffered)
}

// tunnel copies between two connections until one of them ends, or the simulator is closed. Errors end it too.
func (s *Sim) tunnel(client, upstream net.Conn, buffered io.Reader) {
	closeBoth := sync.OnceFunc(func() { _ = errors.Join(client.Close(), upstream.Close()) })
	defer closeBoth()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	finished := make(chan struct{})
	defer close(finished)
	s.work.Go(func() {
		select {
		case <-s.ctx.Done():
		case <-finished:
		}
		closeBoth()
	})
	s.work.Go(func() {
		defer closeBoth()
		_, _ = io.Copy(upstream, buffered)
	})
	_, _ = io.Copy(client, upstream)
}
