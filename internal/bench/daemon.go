package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mode selects how a daemon gets its providers, and whether policies are asked.
type mode struct {
	name   string
	pool   string // on or off
	reuse  int
	policy bool
}

// poolSize is the number of processes that the measured daemons start ahead: the default.
const poolSize = 2

// daemon is a daemon in a process of its own.
type daemon struct {
	mode
	cmd    *exec.Cmd
	dir    string
	client *http.Client
	log    *os.File
}

// startDaemon starts a daemon on new state and waits until it answers.
func (b *bench) startDaemon(ctx context.Context, m mode) (*daemon, error) {
	b.daemons++
	d := &daemon{mode: m, dir: filepath.Join(b.Dir, "d"+strconv.Itoa(b.daemons))}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(d.dir, "s")
	var err error
	if d.log, err = os.Create(filepath.Join(d.dir, "log")); err != nil {
		return nil, err
	}
	sim, err := json.Marshal(b.Sim.Access())
	if err != nil {
		return nil, errors.Join(err, d.log.Close())
	}
	d.cmd = exec.Command(b.Program, "daemon", "--sim", string(sim), "--dir", d.dir, "--socket", socket,
		"--owner", "bench-"+strconv.Itoa(b.daemons), "--pool", m.pool, "--pool-size", strconv.Itoa(poolSize),
		"--reuse", strconv.Itoa(m.reuse))
	if m.policy {
		d.cmd.Args = append(d.cmd.Args, "--policy", b.Policy)
	}
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = b.Environ, d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(err, d.log.Close())
	}
	d.client = &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		}},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for d.call(ctx, http.MethodGet, "/healthz", nil, nil) != nil {
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("daemon %s does not answer: see %s", m.name, d.log.Name()), d.stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return d, nil
}

// stop stops the daemon and waits for its end.
func (d *daemon) stop() error {
	d.client.CloseIdleConnections()
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, d.cmd.Wait(), d.log.Close())
}

// call calls the internal API. out is a value to decode into, a *[]byte for the body as it is, or nil.
func (d *daemon) call(ctx context.Context, method, path string, in, out any) (err error) {
	var body io.Reader
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon/internal/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(content))
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = content
		return nil
	default:
		return json.Unmarshal(content, out)
	}
}

// create creates a container and returns its id.
func (d *daemon) create(ctx context.Context, image, name string, command ...string) (string, error) {
	var created struct{ Id string } //nolint:revive // Docker spells it so
	err := d.call(ctx, http.MethodPost, "/containers?name="+name, map[string]any{
		"Image": image, "Cmd": command, "Labels": map[string]string{"team": "bench"},
	}, &created)
	return created.Id, err
}

func (d *daemon) remove(ctx context.Context, name string) error {
	return d.call(ctx, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil)
}

// workspace returns the folder of a container's workspace.
func (d *daemon) workspace(id string) string {
	return filepath.Join(d.dir, "daemon", "workspaces", "containers", id)
}

// settle waits until the daemon rests with all its processes started, so that its preparations for the next operation
// count for the last one.
func (d *daemon) settle(ctx context.Context) error {
	const every = 150 * time.Millisecond
	last, rests := time.Duration(-1), 0
	// On a busy machine, the providers of the pool take long to start.
	for deadline := time.Now().Add(5 * time.Minute); rests < 2; {
		list, err := tree(d.cmd.Process.Pid, everyProc)
		if err != nil {
			return err
		}
		var cpu time.Duration
		providers := 0
		for _, p := range list {
			cpu += p.cpu + p.waited
			if strings.HasPrefix(p.name, "terraform-provi") {
				providers++
			}
		}
		if last >= 0 && cpu-last <= 2*tick && (d.pool == "off" || providers >= poolSize) {
			rests++
		} else {
			rests = 0
		}
		last = cpu
		if time.Now().After(deadline) {
			return fmt.Errorf("daemon %s does not come to rest: see %s", d.name, d.log.Name())
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// sample measures f on a daemon that rests, and the daemon's work until it rests again.
func (d *daemon) sample(ctx context.Context, f func() error) (s Sample, err error) {
	if err := d.settle(ctx); err != nil {
		return s, err
	}
	before, err := cpuOf(d.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	started := time.Now()
	if err := f(); err != nil {
		return s, err
	}
	s.Wall = time.Since(started)
	if err := d.settle(ctx); err != nil {
		return s, err
	}
	after, err := cpuOf(d.cmd.Process.Pid)
	s.Parts = after.minus(before)
	s.CPU = s.Parts.sum()
	return s, err
}
