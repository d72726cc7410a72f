package provider

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// process is one started provider.
type process struct {
	client      *plugin.Client // reads its stdout and stderr, and is the one reader of its stdio stream
	conn        *grpc.ClientConn
	pid         int
	dir         string
	correlation string
	stderr      *lastWords
	kill        context.CancelFunc
	started     time.Time
	pooled      bool // not started for one lease

	leases int // guarded by the pool's mu
}

// start starts a process that lives until life ends; ctx bounds the start.
func start(ctx, life context.Context, cfg Config, dir string, env map[string]string) (_ *process, err error) {
	proc := &process{dir: dir, correlation: uuid.NewString(), stderr: &lastWords{}}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start provider: %w", err)
	}
	life, proc.kill = context.WithCancel(life)
	cmd := exec.CommandContext(life, cfg.Path)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "ARM_CORRELATION_REQUEST_ID="+proc.correlation, plugin.EnvUnixSocketDir+"="+dir)
	// A daemon that is killed takes its providers with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	proc.client = plugin.NewClient(&plugin.ClientConfig{
		// What Terraform itself says to its providers.
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: "TF_PLUGIN_MAGIC_COOKIE", MagicCookieValue: "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
		},
		VersionedPlugins: map[int]plugin.PluginSet{ProtocolVersion: {}},
		Cmd:              cmd, SkipHostEnv: true, StartTimeout: cfg.StartTimeout,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Stderr:           proc.stderr, Logger: hclog.NewNullLogger(),
	})
	stop := context.AfterFunc(ctx, proc.kill)
	defer stop()
	defer func() {
		if err != nil {
			proc.end()
			if said := proc.stderr.String(); said != "" {
				err = fmt.Errorf("%w: %s", err, said)
			}
		}
	}()
	if _, err := proc.client.Start(); err != nil {
		return nil, fmt.Errorf("start provider: %w", err)
	}
	protocol, err := proc.client.Client()
	if err != nil {
		return nil, fmt.Errorf("connect to provider: %w", err)
	}
	client, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, fmt.Errorf("connect to provider: it speaks %T, not gRPC", protocol)
	}
	proc.conn, proc.pid = client.Conn, cmd.Process.Pid
	proc.stderr.listenForCrash()
	if !stop() {
		return nil, fmt.Errorf("start provider: %w", context.Cause(ctx))
	}
	return proc, nil
}

// end ends the process and blocks until it is gone. Nobody may use it any more.
func (p *process) end() {
	p.client.Kill() // asks first
	p.kill()
	_ = os.RemoveAll(p.dir) // Close removes the folder above, and tells of errors
}

// lastWords keeps what a process says on stderr before it has started, and how it crashes. What it says between the two is its debug log,
// which has the bodies of Azure's answers, secrets and all.
type lastWords struct {
	mu      sync.Mutex
	started bool
	said    []byte
}

// Write implements io.Writer. go-plugin calls it for each line.
func (l *lastWords) Write(line []byte) (int, error) {
	const limit = 8 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	crash := bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: "))
	if !l.started || crash || len(l.said) > 0 {
		l.said = append(l.said, line[:min(len(line), limit-len(l.said))]...)
	}
	return len(line), nil
}

// listenForCrash forgets what was said until now, and keeps only a crash from now on.
func (l *lastWords) listenForCrash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started, l.said = true, nil
}

// String is what was kept, without white space around it.
func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.said))
}
