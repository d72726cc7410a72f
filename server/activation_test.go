package server_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

// activatedEnv turns the test binary into a service that systemd has started. The service listens on the address in
// the variable, greets one client and ends.
const activatedEnv = "AZF_TEST_ACTIVATED"

func TestMain(m *testing.M) {
	if address := os.Getenv(activatedEnv); address != "" {
		if err := activated(address); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func activated(address string) error {
	// systemd sets the process id between fork and exec, which os/exec cannot.
	if os.Getenv("LISTEN_PID") == "self" {
		if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	l, err := server.Listen(server.ListenConfig{Address: address, SocketMode: 0o600})
	if err != nil {
		return err
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS"} {
		if value, ok := os.LookupEnv(name); ok {
			return fmt.Errorf("%s=%s is still set, so children inherit it", name, value)
		}
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "hello\n")
	return errors.Join(err, conn.Close(), l.Close())
}

func TestSocketActivation(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	service := func(env []string, files ...*os.File) (string, error) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), append(env, activatedEnv+"=fd://")...)
		cmd.ExtraFiles = files
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// socket opens a socket that this test owns, as systemd does, and returns it with its file.
	socket := func(t *testing.T, network, address string) (net.Listener, *os.File) {
		t.Helper()
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return l, f
	}

	t.Run("a unix socket is used and left as it is", func(t *testing.T) {
		path := filepath.Join(azuretest.ShortDir(t), "s")
		_, f := socket(t, "unix", path)
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		// A client may come before the service is up: the connection waits.
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := service([]string{"LISTEN_PID=self", "LISTEN_FDS=1"}, f); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		greeting, err := io.ReadAll(conn)
		if err := errors.Join(err, conn.Close()); err != nil || string(greeting) != "hello\n" {
			t.Errorf("got %q, %v", greeting, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
			t.Errorf("after the service has ended: %v, %v; want mode 0666", info, err)
		}
	})
	t.Run("TCP on loopback", func(t *testing.T) {
		l, f := socket(t, "tcp", "127.0.0.1:0")
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if out, err := service([]string{"LISTEN_PID=self", "LISTEN_FDS=1"}, f); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		greeting, err := io.ReadAll(conn)
		if err := errors.Join(err, conn.Close()); err != nil || string(greeting) != "hello\n" {
			t.Errorf("got %q, %v", greeting, err)
		}
	})
	t.Run("TCP beyond loopback", func(t *testing.T) {
		_, f := socket(t, "tcp", "0.0.0.0:0")
		out, err := service([]string{"LISTEN_PID=self", "LISTEN_FDS=1"}, f)
		if err == nil || !strings.Contains(out, "other machines could reach fd://") {
			t.Errorf("got %v: %s, want a refusal", err, out)
		}
	})
	_, one := socket(t, "tcp", "127.0.0.1:0")
	_, two := socket(t, "tcp", "127.0.0.1:0")
	for _, row := range []struct {
		name  string
		env   []string
		files []*os.File
		want  string
	}{
		{"no socket", nil, nil, "systemd passed 0 sockets"},
		{"a socket of another process", []string{"LISTEN_PID=1", "LISTEN_FDS=1"}, []*os.File{one},
			"systemd passed 0 sockets"},
		{"two sockets", []string{"LISTEN_PID=self", "LISTEN_FDS=2"}, []*os.File{one, two}, "systemd passed 2 sockets"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, err := service(row.env, row.files...)
			if err == nil || !strings.Contains(out, row.want) ||
				!strings.Contains(out, "start the daemon through its socket unit") {
				t.Errorf("got %v: %s, want %q", err, out, row.want)
			}
		})
	}
}
