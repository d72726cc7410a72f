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
		// Terraform's own handshake with its providers.
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey:   "TF_PLUGIN_MAGIC_COOKIE",
			MagicCookieValue: "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
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
			if output := proc.stderr.String(); output != "" {
				err = fmt.Errorf("%w: %s", err, output)
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
		return nil, fmt.Errorf("connect to provider: its protocol is %T, not gRPC", protocol)
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
	_ = os.RemoveAll(p.dir) // Close removes the folder above and returns the errors
}

// lastWords keeps the output on stderr of a process that has not started yet, and of one that crashes. The output
// between the two is the process's debug log, which holds the bodies of Azure's answers with their secrets.
type lastWords struct {
	mu      sync.Mutex
	started bool
	output  []byte
}

// Write implements io.Writer. go-plugin calls it for each line.
func (l *lastWords) Write(line []byte) (int, error) {
	const limit = 8 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	crash := bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: "))
	if !l.started || crash || len(l.output) > 0 {
		l.output = append(l.output, line[:min(len(line), limit-len(l.output))]...)
	}
	return len(line), nil
}

// listenForCrash drops the output until now, and keeps only a crash from now on.
func (l *lastWords) listenForCrash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started, l.output = true, nil
}

// String returns the kept output, without white space around it.
func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.output))
}
