package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Networks of an address.
const (
	NetworkUnix = "unix"
	NetworkTCP  = "tcp"
	// NetworkFD is the one socket that systemd passes to a service.
	NetworkFD = "fd"
)

// ListenConfig configures Listen.
type ListenConfig struct {
	// Address is unix:///path, tcp://host:port or fd://. A path that holds a slash and host:port need no scheme.
	Address string
	// SocketMode, SocketOwner and SocketGroup apply to the file of a unix socket. A mode of 0 means 0660. Owner and
	// group are each a name or a number; when empty, those of the process apply. A socket from systemd keeps its own.
	SocketMode  fs.FileMode
	SocketOwner string
	SocketGroup string
	// TLSCert and TLSKey are PEM files that make the server speak TLS, 1.2 or later. TLSClientCA is a PEM file of
	// authorities, one of which must have issued the client's certificate. Listen reads each file once.
	TLSCert     string
	TLSKey      string
	TLSClientCA string
	// Insecure allows TCP without TLS beyond loopback.
	Insecure bool
}

// FieldError is a problem of one field of a ListenConfig.
type FieldError struct {
	// Field is the name of the setting in configuration files: listen for Address, tls_cert for TLSCert.
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// maxSocketPath is the longest path, in bytes, that Linux accepts for a socket.
const maxSocketPath = 107

// ParseAddress splits an address of a ListenConfig into the network and the address for net.Listen: a path,
// host:port, or nothing.
func ParseAddress(address string) (network, rest string, err error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case ok:
		network = scheme
	case strings.Contains(address, "/"):
		network, rest = NetworkUnix, address
	case strings.Contains(address, ":"):
		network, rest = NetworkTCP, address
	}
	switch {
	case network == NetworkUnix && len(rest) > maxSocketPath:
		return "", "", fmt.Errorf("the path of the socket is %d bytes long, and Linux takes %d: choose a shorter one",
			len(rest), maxSocketPath)
	case network == NetworkUnix && validPath(rest):
		return network, rest, nil
	case network == NetworkFD && rest == "":
		return network, rest, nil
	case network == NetworkTCP:
		host, port, splitErr := net.SplitHostPort(rest)
		_, portErr := strconv.ParseUint(port, 10, 16)
		if splitErr == nil && portErr == nil && !strings.ContainsAny(host, "/ ") {
			return network, rest, nil
		}
	}
	return "", "", fmt.Errorf("%q is not a valid address: use unix:///path, tcp://host:port or fd://", address)
}

// validPath reports whether path can name a socket's file.
func validPath(path string) bool {
	return path != "" && !strings.HasPrefix(path, "@") && !strings.HasSuffix(path, "/") && !strings.ContainsRune(path, 0)
}

// setting is a field of a FieldError with its value.
type setting struct{ field, value string }

// Check returns the problems of the configuration, without listening.
func (c ListenConfig) Check() (problems []*FieldError) {
	add := func(field string, err error) {
		if err != nil {
			problems = append(problems, &FieldError{Field: field, Err: err})
		}
	}
	network, rest, err := ParseAddress(c.Address)
	add("listen", err)
	if c.SocketMode&^fs.ModePerm != 0 {
		add("socket_mode", fmt.Errorf("%#o is not a valid mode of a socket: use four octal digits such as 0660",
			uint32(c.SocketMode)))
	}
	_, err = userID(c.SocketOwner)
	add("socket_owner", err)
	_, err = groupID(c.SocketGroup)
	add("socket_group", err)
	if network == NetworkTCP || network == NetworkFD {
		for _, f := range []setting{{"socket_owner", c.SocketOwner}, {"socket_group", c.SocketGroup}} {
			if f.value != "" {
				add(f.field, fmt.Errorf("it is for unix sockets that the daemon creates, but the daemon listens on %s: remove it",
					c.Address))
			}
		}
	}
	if network == NetworkUnix {
		for _, f := range []setting{{"tls_cert", c.TLSCert}, {"tls_key", c.TLSKey}, {"tls_client_ca", c.TLSClientCA}} {
			if f.value != "" {
				add(f.field, errors.New("a unix socket is not served over TLS: remove it, or listen on tcp://host:port"))
			}
		}
		return problems
	}
	_, tlsProblems := c.tlsConfig()
	problems = append(problems, tlsProblems...)
	if host, _, err := net.SplitHostPort(rest); network == NetworkTCP && err == nil && !loopback(host) {
		add("listen", c.plainRefused())
	}
	return problems
}

// plainRefused refuses to serve other machines without TLS. It returns nil when the configuration allows that.
func (c ListenConfig) plainRefused() error {
	if c.Insecure || c.TLSCert != "" || c.TLSKey != "" {
		return nil
	}
	return fmt.Errorf("other machines could reach %s in plain text and run containers in your subscription: "+
		"give tls_cert and tls_key, and tls_client_ca to admit only clients that you know; "+
		"or listen on 127.0.0.1; or allow it with insecure", c.Address)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Listen listens on cfg.Address. It refuses a unix socket on which another process answers, and a path whose file
// is not a socket. It replaces a socket on which no process answers. The caller closes the listener, which removes
// a unix socket unless it came from systemd. Problems of the configuration are FieldErrors, joined.
func Listen(cfg ListenConfig) (net.Listener, error) {
	var errs []error
	for _, problem := range cfg.Check() {
		errs = append(errs, problem)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	network, address, err := ParseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	var l net.Listener
	switch network {
	case NetworkUnix:
		l, err = cfg.listenPersistent(address)
	case NetworkFD:
		l, err = passedListener()
	default:
		l, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cfg.Address, err)
	}
	// The name localhost may stand for another address, and systemd may pass any socket.
	if addr, ok := l.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		if err := cfg.plainRefused(); err != nil {
			return nil, errors.Join(&FieldError{Field: "listen", Err: err}, l.Close())
		}
	}
	tlsCfg, problems := cfg.tlsConfig()
	switch {
	case len(problems) > 0:
		return nil, errors.Join(problems[0], l.Close())
	case tlsCfg != nil:
		l = tls.NewListener(l, tlsCfg)
	}
	return l, nil
}

func (c ListenConfig) listenUnix(path string) (*net.UnixListener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, errors.New("the file at this path is not a socket: choose another path or remove the file")
	default:
		if conn, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(errors.New("another process answers there: stop it or choose another path"),
				conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		// The file gets the mode of the socket, so that no other user can connect before owner and mode are set.
		return errors.Join(conn.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is not a unix socket", l), l.Close())
	}
	if err := c.own(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return unix, nil
}

// own sets the owner, group and mode of the socket's file.
func (c ListenConfig) own(path string) error {
	uid, err := userID(c.SocketOwner)
	if err != nil {
		return err
	}
	gid, err := groupID(c.SocketGroup)
	if err != nil {
		return err
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return fmt.Errorf(
				"%w: only root can give a socket to another user, or to a group that the daemon's user is not in", err)
		}
	}
	mode := c.SocketMode
	if mode == 0 {
		mode = 0o660
	}
	return os.Chmod(path, mode)
}

// userID returns the number of a user, whose name or number is given. It returns -1 when name is empty.
func userID(name string) (int, error) {
	if id, ok := accountID(name); ok {
		return id, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("no user %q on this machine: create it, or give another name or a number", name)
	}
	return strconv.Atoi(u.Uid)
}

// groupID is userID for groups.
func groupID(name string) (int, error) {
	if id, ok := accountID(name); ok {
		return id, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("no group %q on this machine: create it, or give another name or a number", name)
	}
	return strconv.Atoi(g.Gid)
}

func accountID(name string) (int, bool) {
	if name == "" {
		return -1, true
	}
	id, err := strconv.ParseUint(name, 10, 31)
	return int(id), err == nil
}

// passedListener returns the one socket that systemd has passed.
func passedListener() (net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, err
	}
	if len(listeners) == 1 && listeners[0] != nil {
		return listeners[0], nil
	}
	for _, l := range listeners {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return nil, errors.Join(fmt.Errorf("systemd passed %d sockets in place of one stream socket: "+
		"start the daemon through its socket unit with one ListenStream, or give an address", len(listeners)), err)
}
