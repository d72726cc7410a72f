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

// socketCheckInterval is the time between two checks of a unix socket's file.
const socketCheckInterval = 5 * time.Second

// persistentSocket is a unix socket that is created again after its file was removed, since no client can reach the
// daemon without the file.
type persistentSocket struct {
	cfg  ListenConfig
	path string

	mu      sync.Mutex
	current *net.UnixListener
	file    fs.FileInfo // the file of current
	closed  bool
}

func (c ListenConfig) listenPersistent(path string) (*persistentSocket, error) {
	s := &persistentSocket{cfg: c, path: path}
	return s, s.listen()
}

// listen creates the socket. The caller holds mu, unless no other goroutine has s yet.
func (s *persistentSocket) listen() error {
	l, err := s.cfg.listenUnix(s.path)
	if err != nil {
		return err
	}
	file, err := os.Lstat(s.path)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.current, s.file = l, file
	return nil
}

// Accept implements net.Listener.
func (s *persistentSocket) Accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		l := s.current
		s.mu.Unlock()
		conn, err := l.Accept()
		if err == nil {
			return conn, nil
		}
		s.mu.Lock()
		replaced := l != s.current
		s.mu.Unlock()
		if !replaced {
			return nil, err
		}
	}
}

// Addr implements net.Listener.
func (s *persistentSocket) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Addr()
}

// Close implements net.Listener. It removes the file, unless the file is another process's.
func (s *persistentSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.current.SetUnlinkOnClose(s.own())
	return s.current.Close()
}

// own reports whether the file at the path is the file of the current socket. A file that replaced it may have the
// same inode number, but not also the same modification time.
func (s *persistentSocket) own() bool {
	file, err := os.Lstat(s.path)
	return err == nil && os.SameFile(file, s.file) && file.ModTime().Equal(s.file.ModTime())
}

// restore creates the socket again when its file is missing, and reports whether it did.
func (s *persistentSocket) restore() (restored bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.own() {
		return false, nil
	}
	old := s.current
	if err := s.listen(); err != nil {
		return false, err
	}
	old.SetUnlinkOnClose(false) // the file is the new socket's
	return true, old.Close()
}

// watch restores the socket at each tick, until done is closed. It logs a repeated error once.
func (s *persistentSocket) watch(ticks <-chan time.Time, done <-chan struct{}, log zerolog.Logger) {
	logged := ""
	for {
		select {
		case <-done:
			return
		case <-ticks:
		}
		restored, err := s.restore()
		switch {
		case err != nil && err.Error() != logged:
			logged = err.Error()
			log.Error().Err(err).Str("path", s.path).
				Msg("the socket's file is missing and cannot be created again: clients cannot reach the daemon")
		case restored:
			logged = ""
			log.Warn().Str("path", s.path).Msg("the socket's file was missing and has been created again")
		}
	}
}
