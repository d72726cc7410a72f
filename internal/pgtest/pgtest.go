// Package pgtest runs a real PostgreSQL for tests, from the machine's own binaries: in a temporary folder, on a unix
// socket, without TCP. As root it runs the server as the user postgres or nobody, because PostgreSQL refuses to run as
// root. Under go test -short it skips the tests that ask for a database. It must not know of what is tested.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//	url := pgtest.Database(t) // a fresh database of the test binary's server
package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// Server is a PostgreSQL server of its own.
type Server struct {
	dir        string // data in data, socket in sockets
	bin        string
	credential *syscall.Credential
	cmd        *exec.Cmd
	exited     chan struct{}
	created    int // number of databases and schemas
}

// shared is the server of the test binary, started when it is first needed.
var shared struct {
	mu     sync.Mutex
	server *Server
	err    error
}

// Main runs the tests and then stops the server, if one was started. It returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			return max(code, 1)
		}
	}
	return code
}

// Database creates an empty database on the test binary's server and returns its URL. The binary's TestMain must call
// Main. The test fails when the machine has no PostgreSQL.
func Database(t testing.TB) string {
	t.Helper()
	return fromShared(t, func(s *Server) (string, error) { return s.Database(context.Background()) })
}

// Schema creates an empty schema, in a database with other schemas, and returns the URL that selects it. It is much
// faster than Database, and enough for tests that need tables only.
func Schema(t testing.TB) string {
	t.Helper()
	return fromShared(t, func(s *Server) (string, error) {
		s.created++
		name := "test" + strconv.Itoa(s.created)
		return s.url("postgres") + "&search_path=" + name, s.do(context.Background(), "CREATE SCHEMA "+name)
	})
}

// Own starts a server that the test may stop and start. It returns the server and the URL of an empty database on it.
// The server is closed with the test.
func Own(t testing.TB) (s *Server, url string) {
	t.Helper()
	azuretest.Needs(t, "PostgreSQL")
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if url, err = s.Database(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, url
}

func fromShared(t testing.TB, create func(*Server) (string, error)) string {
	t.Helper()
	azuretest.Needs(t, "PostgreSQL")
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	url, err := create(shared.server)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// Start starts a server and blocks until it answers. The caller closes it.
func Start() (s *Server, err error) {
	s = &Server{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start PostgreSQL for tests: %w", err), s.Close())
			s = nil
		}
	}()
	if s.bin, err = find(); err != nil {
		return s, err
	}
	// TMPDIR may be a test's own folder. This path is short enough for a socket, and other users may enter it.
	if s.dir, err = os.MkdirTemp("/tmp", "pgtest"); err != nil {
		return s, err
	}
	if s.credential, err = unprivileged(); err != nil {
		return s, err
	}
	if s.credential != nil {
		if err := os.Chown(s.dir, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			return s, err
		}
	}
	initdb := s.command("initdb", "--pgdata", s.data(), "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	if output, err := initdb.CombinedOutput(); err != nil {
		return s, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return s, s.Start()
}

// Start starts the server again after Stop, with the same data.
func (s *Server) Start() error {
	s.cmd = s.command("postgres", "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	ready, started, output := make(chan bool, 1), make(chan error), &strings.Builder{}
	s.exited = make(chan struct{})
	go func() {
		// Linux sends the death signal when the thread that started the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		lines := bufio.NewScanner(stderr)
		up := false
		for lines.Scan() {
			if !up {
				output.WriteString(lines.Text() + "\n")
			}
			if !up && strings.Contains(lines.Text(), "ready to accept connections") {
				up = true
				ready <- true
			}
		}
		_, _ = io.Copy(io.Discard, stderr) // a line too long for the scanner must not block the server
		_ = s.cmd.Wait()                   // its error is the signal that Stop sends
		close(s.exited)
		if !up {
			ready <- false
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	if !<-ready {
		return fmt.Errorf("postgres did not start:\n%s", output)
	}
	return nil
}

// Stop ends the server at once, which ends its connections as a crash of its machine would. Start starts it again.
func (s *Server) Stop() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// Close ends the server and deletes its data.
func (s *Server) Close() error {
	err := s.Stop()
	if s.dir == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Database creates an empty database and returns its URL.
func (s *Server) Database(ctx context.Context) (string, error) {
	s.created++
	name := "test" + strconv.Itoa(s.created)
	return s.url(name), s.do(ctx, "CREATE DATABASE "+name)
}

// do runs a statement in the server's first database.
func (s *Server) do(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func (s *Server) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User("postgres"), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode(),
	}
	return u.String()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return cmd
}

// find returns the folder of PostgreSQL's programs: Debian's newest, otherwise that of the postgres on PATH.
func find() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	best, version := "", -1.0
	for _, path := range found {
		if v, err := strconv.ParseFloat(strings.Split(path, "/")[4], 64); err == nil && v > version {
			best, version = filepath.Dir(path), v
		}
	}
	if best != "" {
		return best, nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("no postgres on PATH or below /usr/lib/postgresql: " +
			"install the Debian package postgresql (make programs does where it may)")
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// unprivileged returns the user for the server, nil when this process's own user may run it.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("root may not run the server, and there is neither a user postgres nor a user nobody")
}
