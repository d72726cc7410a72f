package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// socketLook is how often the file of a unix socket is looked at.
const socketLook = 5 * time.Second

// lasting is a unix socket that can be made anew when its file has gone: no client finds the daemon then.
type lasting struct {
	cfg  ListenConfig
	path string

	mu    sync.Mutex
	now   *net.UnixListener
	file  fs.FileInfo // what now has made
	ended bool
}

func (c ListenConfig) listenLasting(path string) (*lasting, error) {
	s := &lasting{cfg: c, path: path}
	return s, s.listen()
}

// listen makes the socket. mu must be held, or nobody else know s.
func (s *lasting) listen() error {
	l, err := s.cfg.listenUnix(s.path)
	if err != nil {
		return err
	}
	file, err := os.Lstat(s.path)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.now, s.file = l, file
	return nil
}

// Accept implements net.Listener.
func (s *lasting) Accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		l := s.now
		s.mu.Unlock()
		conn, err := l.Accept()
		if err == nil {
			return conn, nil
		}
		s.mu.Lock()
		replaced := l != s.now
		s.mu.Unlock()
		if !replaced {
			return nil, err
		}
	}
}

// Addr implements net.Listener.
func (s *lasting) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Addr()
}

// Close implements net.Listener. It removes the file, but not one that others have put there.
func (s *lasting) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.now.SetUnlinkOnClose(s.own())
	return s.now.Close()
}

// own tells whether the file is there and ours. A new file may get the number of an old one, but not its time too.
func (s *lasting) own() bool {
	file, err := os.Lstat(s.path)
	return err == nil && os.SameFile(file, s.file) && file.ModTime().Equal(s.file.ModTime())
}

// look makes the socket anew when its file is not there any more.
func (s *lasting) look() (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.own() {
		return false, nil
	}
	old := s.now
	if err := s.listen(); err != nil {
		return false, err
	}
	old.SetUnlinkOnClose(false) // the file is the new one's
	return true, old.Close()
}

// watch looks whenever a time comes, until done is closed.
func (s *lasting) watch(ticks <-chan time.Time, done <-chan struct{}, log zerolog.Logger) {
	said := ""
	for {
		select {
		case <-done:
			return
		case <-ticks:
		}
		again, err := s.look()
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			log.Error().Err(err).Str("path", s.path).Msg("the socket's file has gone, and cannot be made anew: no client finds the daemon")
		case again:
			said = ""
			log.Warn().Str("path", s.path).Msg("the socket's file had gone, and is made anew")
		}
	}
}
