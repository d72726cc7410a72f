package handler

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Facts describe the container that a program runs in. They hold no values of the environment but PORT.
type Facts struct {
	// InitArgs is the command line of process 1, and InitEnvironReadable reports whether its environment can be read.
	InitArgs            []string `json:"init_args"`
	InitEnvironReadable bool     `json:"init_environ_readable"`
	UID                 int      `json:"uid"`
	GID                 int      `json:"gid"`
	Groups              []int    `json:"groups"`
	// Port is the variable PORT, which commands do not get. Listening are the ports on which processes of the container
	// listen at other addresses than loopback.
	Port      string `json:"port"`
	Listening []int  `json:"listening"`
	// Fields of the same names in /proc/self/status.
	CapEff     string `json:"cap_eff"`
	CapBnd     string `json:"cap_bnd"`
	Seccomp    string `json:"seccomp"`
	NoNewPrivs string `json:"no_new_privs"`
	// Kernel is the content of /proc/version.
	Kernel string `json:"kernel"`
	// FreeBytes are the bytes that a user without privileges can write, by folder.
	FreeBytes   map[string]uint64 `json:"free_bytes"`
	Nameservers []string          `json:"nameservers"`
	// Addresses are those of LookupName.
	Addresses []string `json:"addresses"`
	// Errors say why facts are missing.
	Errors []string `json:"errors"`
}

// LookupName is the name whose addresses Probe looks up, for at most lookupLimit.
const (
	LookupName  = "login.microsoftonline.com"
	lookupLimit = 5 * time.Second
)

// Probe writes the facts as one line of JSON.
func Probe(ctx context.Context, environ []string, out io.Writer) error {
	f := Facts{
		UID: os.Getuid(), GID: os.Getgid(), Port: lookup(environ, "PORT"), FreeBytes: map[string]uint64{},
		// Lists are empty in JSON and not null.
		Groups: []int{}, Listening: []int{}, Nameservers: []string{}, Addresses: []string{}, Errors: []string{},
	}
	note := func(err error) {
		if err != nil {
			f.Errors = append(f.Errors, err.Error())
		}
	}
	read := func(path string) string {
		content, err := os.ReadFile(path)
		note(err)
		return strings.TrimSpace(string(content))
	}
	f.InitArgs = strings.FieldsFunc(read("/proc/1/cmdline"), func(r rune) bool { return r == 0 })
	f.InitEnvironReadable = readable("/proc/1/environ")
	f.Kernel = read("/proc/version")
	f.readStatus(read("/proc/self/status"))
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if content, err := os.ReadFile(table); err == nil { // a kernel may lack one
			f.addListening(string(content))
		}
	}
	for line := range strings.Lines(read("/etc/resolv.conf")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			f.Nameservers = append(f.Nameservers, fields[1])
		}
	}
	groups, err := os.Getgroups()
	note(err)
	f.Groups = append(f.Groups, groups...)
	for _, dir := range []string{"/", os.TempDir()} {
		var stat syscall.Statfs_t
		if err := syscall.Statfs(dir, &stat); err != nil {
			note(&os.PathError{Op: "statfs", Path: dir, Err: err})
			continue
		}
		f.FreeBytes[dir] = stat.Bavail * uint64(stat.Bsize)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, LookupName)
	note(err)
	f.Addresses = append(f.Addresses, addresses...)
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode facts: %w", err)
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// readable reports whether a file can be read.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	_, err = f.Read(make([]byte, 1))
	_ = f.Close() // nothing was written
	return err == nil
}

// readStatus reads the fields of /proc/self/status.
func (f *Facts) readStatus(status string) {
	fields := map[string]*string{
		"CapEff": &f.CapEff, "CapBnd": &f.CapBnd, "Seccomp": &f.Seccomp, "NoNewPrivs": &f.NoNewPrivs,
	}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if field := fields[name]; field != nil {
			*field = strings.TrimSpace(value)
		}
	}
}

// addListening adds the ports of a table in the form of /proc/net/tcp (proc_net(5)).
func (f *Facts) addListening(table string) {
	const listen = "0A"
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != listen {
			continue
		}
		address, port, _ := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(port, 16, 16)
		if err == nil && !isLoopback(address) && !slices.Contains(f.Listening, int(number)) {
			f.Listening = append(f.Listening, int(number))
		}
	}
	slices.Sort(f.Listening)
}

// isLoopback reports whether an address, in the form of /proc/net/tcp, is of the loopback interface.
func isLoopback(address string) bool {
	ip, err := hex.DecodeString(address)
	if err != nil {
		return false
	}
	for word := range slices.Chunk(ip, 4) {
		slices.Reverse(word) // the kernel writes words in the order of the processor, which is little-endian
	}
	return net.IP(ip).IsLoopback()
}
