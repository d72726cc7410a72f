package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/api"
)

// peer is what the kernel says about the other end of a connection when it is accepted.
type peer struct {
	requester api.Requester
	command   []string // its command line, nil when it cannot be known
}

type peerKey struct{}

// withPeer keeps in the context of a connection's requests who has connected, if that is a process of this machine.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	if conn, ok := conn.(*net.UnixConn); ok {
		return context.WithValue(ctx, peerKey{}, unixPeer(conn))
	}
	return ctx
}

// peerOf returns who has connected. ok is false for a connection that is not one of a unix socket.
func peerOf(r *http.Request) (p peer, ok bool) {
	p, ok = r.Context().Value(peerKey{}).(peer)
	return p, ok
}

// unixPeer asks the kernel for the process that has connected. Of a process that the kernel does not know, such as one
// of another PID namespace, the kind alone is set.
func unixPeer(conn *net.UnixConn) (p peer) {
	p.requester.Kind = api.RequesterUnix
	raw, err := conn.SyscallConn()
	if err != nil {
		return p
	}
	var cred *unix.Ucred
	process := -1 // a descriptor of the process itself, which no later process with its number can be
	err = raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil { // since Linux 6.5
			process = pidfd
		}
	})
	if process >= 0 {
		defer func() { _ = unix.Close(process) }() // nothing was written to it
	}
	if err != nil || cred == nil {
		return p
	}
	r := &p.requester
	r.UID, r.GID, r.PID = &cred.Uid, &cred.Gid, cred.Pid
	r.User = nameOf(cred.Uid, user.LookupId, func(u *user.User) string { return u.Username })
	if process < 0 || cred.Pid == 0 {
		return p
	}
	read := readProcess(cred.Pid)
	// EPERM: the process lives, and is another user's.
	if err := unix.PidfdSendSignal(process, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return p
	}
	r.Executable, r.Cgroup, r.Groups, p.command = read.executable, read.cgroup, read.groups, read.command
	return p
}

// process is what /proc says about a process. What may not be read is empty.
type process struct {
	executable, cgroup string
	groups, command    []string
}

func readProcess(pid int32) (p process) {
	dir := "/proc/" + strconv.Itoa(int(pid)) + "/"
	p.executable, _ = os.Readlink(dir + "exe")
	if line, err := os.ReadFile(dir + "cmdline"); err == nil && len(line) > 0 {
		p.command = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	}
	if content, err := os.ReadFile(dir + "cgroup"); err == nil {
		for line := range strings.Lines(string(content)) {
			if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok { // of cgroup v2
				p.cgroup = group
			}
		}
	}
	if content, err := os.ReadFile(dir + "status"); err == nil {
		for line := range strings.Lines(string(content)) {
			if ids, ok := strings.CutPrefix(line, "Groups:"); ok {
				for id := range strings.FieldsSeq(ids) {
					gid, err := strconv.ParseUint(id, 10, 32)
					if err == nil {
						name := nameOf(uint32(gid), user.LookupGroupId, func(g *user.Group) string { return g.Name })
						p.groups = append(p.groups, name)
					}
				}
			}
		}
	}
	return p
}

// nameOf returns the name of a user or group, or its number without one.
func nameOf[T any](id uint32, find func(id string) (*T, error), name func(*T) string) string {
	number := strconv.FormatUint(uint64(id), 10)
	if found, err := find(number); err == nil {
		return name(found)
	}
	return number
}

// requesterOf returns who sends a request.
func requesterOf(r *http.Request) api.Requester {
	if p, ok := peerOf(r); ok {
		return p.requester
	}
	// A certificate counts only if it was verified.
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		out := ofCertificate(r.TLS.PeerCertificates[0])
		out.Address = r.RemoteAddr
		return out
	}
	return api.Requester{Kind: api.RequesterTCP, Address: r.RemoteAddr}
}

func ofCertificate(c *x509.Certificate) api.Requester {
	sum := sha256.Sum256(c.Raw)
	out := api.Requester{
		Kind: api.RequesterMTLS, Subject: c.Subject.String(), CommonName: c.Subject.CommonName,
		Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16),
		Fingerprint: hex.EncodeToString(sum[:]), Names: append([]string{}, c.DNSNames...),
	}
	out.Names = append(out.Names, c.EmailAddresses...)
	for _, address := range c.IPAddresses {
		out.Names = append(out.Names, address.String())
	}
	for _, uri := range c.URIs {
		out.Names = append(out.Names, uri.String())
	}
	return out
}

// originOf returns where a request comes from.
func originOf(c echo.Context, id string) api.Origin {
	r := c.Request()
	name := "docker"
	if strings.HasPrefix(r.URL.Path, Prefix) {
		name = strings.TrimPrefix(Prefix, "/")
	} else if version, ok := strings.CutPrefix(r.URL.Path, "/v"); ok {
		version, _, _ = strings.Cut(version, "/")
		name += "/" + version
	}
	return api.Origin{
		Requester: requesterOf(r),
		Request:   &api.RequestDetails{ID: id, API: name, UserAgent: strings.ToValidUTF8(cut(r.UserAgent()), "")},
	}
}

// maxUserAgent bounds what a client may put into each record.
const maxUserAgent = 256

func cut(userAgent string) string { return userAgent[:min(len(userAgent), maxUserAgent)] }

// isDockerRun reports whether a create comes from the docker CLI's run. Its create sends the same, so that only the
// command line tells them apart; where that cannot be read, every create of the CLI counts.
func isDockerRun(c echo.Context) bool {
	if !strings.HasPrefix(c.Request().UserAgent(), "Docker-Client/") {
		return false
	}
	p, _ := peerOf(c.Request())
	command := p.command
	if len(command) == 0 {
		return true
	}
	if path.Base(command[0]) != "docker" {
		return false
	}
	verb := slices.IndexFunc(command, func(arg string) bool { return arg == "run" || arg == "create" || arg == "compose" })
	return verb >= 0 && command[verb] == "run"
}
