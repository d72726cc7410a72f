// Package provider keeps a pool of started azurerm processes. An operation leases one and reaches it through a gRPC
// proxy. The proxy cuts the provider's schema down to the part that the operation needs and forwards every other call
// byte for byte. Stop and Configure change a whole process, which is why two operations never share one. The package
// must not know of workspaces or of how Terraform is run.
//
//	pool, err := provider.New(provider.Config{Path: path, Env: env, Dir: dir, Size: 2, Reuse: 1})
//	err = pool.Start()
//	defer pool.Close()
//	lease, err := pool.Lease(ctx, provider.Request{Types: []string{"azurerm_linux_function_app"}})
//	defer lease.Release()
//	// TF_REATTACH_PROVIDERS: protocol grpc, version provider.ProtocolVersion, lease.PID(), lease.Socket(), test true
package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// ProtocolVersion is the version of Terraform's plugin protocol that the processes speak.
const ProtocolVersion = 5

// maxDir is the longest path of the sockets' folder: the whole path of a socket has at most 107 bytes.
const maxDir = 60

// tendEvery is the interval between two looks at the processes that nobody leases.
const tendEvery = 10 * time.Second

// Config configures New. Path and Dir are required.
type Config struct {
	// Path is the provider's binary. It must not change while the pool lives.
	Path string
	// Env is the whole environment of the processes, except ARM_CORRELATION_REQUEST_ID and the variables that start a
	// plugin.
	Env map[string]string
	// Dir is a folder for sockets that belongs to the pool: Start empties it and Close removes it. When its path is too
	// long for sockets, a temporary folder takes its place.
	Dir string
	// Size is the number of processes that are started ahead of the operations that need them.
	Size int
	// Reuse is the number of operations that one process may serve, one after another; 0 means 1.
	Reuse int
	// MaxAge is the age up to which a process may be leased; 0 means without limit. azurerm reads tokens and certificates
	// only once.
	MaxAge time.Duration
	// IdleAfter is the time after the last lease when all idle processes are ended, until the next lease; 0 means never.
	IdleAfter time.Duration
	// StartTimeout is the time that a process may take to start; 0 means 1 minute.
	StartTimeout time.Duration
	// Now is the clock, nil means time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// Pool keeps started processes. Its methods are safe for concurrent use.
type Pool struct {
	cfg     Config
	binary  os.FileInfo
	ctx     context.Context // ends at Close, and all processes with it
	cancel  context.CancelFunc
	work    sync.WaitGroup
	schemas schemas

	mu       sync.Mutex
	changed  *sync.Cond // a start in the background has succeeded or failed
	dir      string     // "" before Start
	closed   bool
	sockets  int
	starting int // in the background
	idle     []*process
	leased   map[*process]bool
	lastUse  time.Time
}

// New checks cfg. Nothing runs before Start.
func New(cfg Config) (*Pool, error) {
	if cfg.Path == "" || cfg.Dir == "" {
		return nil, errors.New("configure provider pool: a binary and a folder are needed")
	}
	binary, err := os.Stat(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("configure provider pool: %w", err)
	}
	cfg.Reuse = max(cfg.Reuse, 1)
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Pool{cfg: cfg, binary: binary, leased: map[*process]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Start creates the folder and begins to start processes in the background. It does not wait for them.
func (p *Pool) Start() error {
	dir := p.cfg.Dir
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clean folder of provider sockets: %w", err)
	}
	if len(dir) > maxDir {
		var err error
		if dir, err = os.MkdirTemp("", "azf-"); err != nil {
			return fmt.Errorf("create folder of provider sockets: %w", err)
		}
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create folder of provider sockets: %w", err)
	}
	p.mu.Lock()
	p.dir, p.lastUse = dir, p.cfg.Now()
	p.refill()
	p.mu.Unlock()
	p.work.Go(func() {
		ticker := time.NewTicker(tendEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.tend()
			case <-p.ctx.Done():
				return
			}
		}
	})
	return nil
}

// Close ends every process, leased ones too, removes the sockets, and blocks until nothing is left. Calling it again
// does nothing.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.work.Wait()
		return nil
	}
	p.closed = true
	for _, proc := range p.idle {
		p.end(proc)
	}
	for proc := range p.leased {
		p.end(proc)
	}
	p.idle, p.leased = nil, map[*process]bool{}
	dir := p.dir
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	if dir == "" {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove folder of provider sockets: %w", err)
	}
	return nil
}

// Request holds the requirements of an operation.
type Request struct {
	// Types are the types of resources, data sources and the like whose schemas the operation needs. A type that the
	// provider does not know makes the proxy answer with the whole schema.
	Types []string
	// Env is added to the environment of a process that is started for this lease and ended after it; nil takes one of the
	// pool.
	Env map[string]string
}

// Lease gives the caller a process for itself, started ahead or now, and blocks until it answers. The caller calls
// Release.
func (p *Pool) Lease(ctx context.Context, req Request) (*Lease, error) {
	proc, err := p.take(ctx, req.Env)
	if err != nil {
		return nil, err
	}
	socket, err := p.socket()
	if err == nil {
		var proxy *proxy
		types := slices.Compact(slices.Sorted(slices.Values(req.Types)))
		if proxy, err = serve(socket, proc, &p.schemas, types); err == nil {
			return &Lease{pool: p, process: proc, proxy: proxy, reusable: req.Env == nil}, nil
		}
	}
	p.giveBack(proc, false)
	return nil, err
}

// take moves a process to the leased ones.
func (p *Pool) take(ctx context.Context, env map[string]string) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.dir == "" {
		return nil, errors.New("lease provider: the pool is not running")
	}
	p.work.Add(1)
	defer p.work.Done()
	p.lastUse = p.cfg.Now()
	for env == nil && len(p.idle) > 0 {
		proc := p.idle[0]
		p.idle = p.idle[1:]
		if !p.fit(proc) {
			p.end(proc)
			continue
		}
		proc.leases++
		p.leased[proc] = true
		p.refill()
		return proc, nil
	}
	p.refill()
	proc, err := p.start(ctx, env)
	if err != nil {
		return nil, err
	}
	if p.closed {
		p.end(proc)
		return nil, errors.New("lease provider: the pool was closed")
	}
	proc.leases++
	p.leased[proc] = true
	return proc, nil
}

// giveBack makes a process idle again, or ends it.
func (p *Pool) giveBack(proc *process, reusable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return // Close ended it
	}
	delete(p.leased, proc)
	if reusable && proc.leases < p.cfg.Reuse && p.fit(proc) {
		p.idle = append(p.idle, proc)
		return
	}
	p.end(proc)
	p.refill()
}

// fit reports whether a process may be leased.
func (p *Pool) fit(proc *process) bool {
	return !proc.client.Exited() && (p.cfg.MaxAge == 0 || p.cfg.Now().Sub(proc.started) < p.cfg.MaxAge)
}

// tend ends idle processes that are not fit any more. It ends all of them when nobody has leased one for IdleAfter.
func (p *Pool) tend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	quiet := p.cfg.IdleAfter > 0 && p.cfg.Now().Sub(p.lastUse) >= p.cfg.IdleAfter
	p.idle = slices.DeleteFunc(p.idle, func(proc *process) bool {
		if !quiet && p.fit(proc) {
			return false
		}
		p.end(proc)
		return true
	})
	if !quiet {
		p.refill()
	}
}

// refill starts processes in the background, up to the pool's size. Leased processes that will come back count. A
// failed start is not repeated before the next lease or the next tend. The caller holds mu.
func (p *Pool) refill() {
	if p.closed {
		return
	}
	have := len(p.idle) + p.starting
	for proc := range p.leased {
		if proc.pooled && proc.leases < p.cfg.Reuse {
			have++
		}
	}
	for ; have < p.cfg.Size; have++ {
		p.starting++
		p.work.Go(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			proc, err := p.start(p.ctx, nil)
			p.starting--
			p.changed.Broadcast()
			switch {
			case p.closed && err == nil:
				p.end(proc)
			case err == nil:
				p.idle = append(p.idle, proc)
			case !p.closed:
				p.cfg.Log.Warn().Err(err).Msg("a provider could not be started ahead")
			}
		})
	}
}

// start starts a process, and reads the schema if no process has been asked for it yet. The caller holds mu, which is
// free meanwhile.
func (p *Pool) start(ctx context.Context, env map[string]string) (*process, error) {
	p.sockets++
	dir := filepath.Join(p.dir, strconv.Itoa(p.sockets))
	p.mu.Unlock()
	defer p.mu.Lock()
	if err := p.unchanged(); err != nil {
		return nil, err
	}
	all := maps.Clone(p.cfg.Env)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, env)
	proc, err := start(ctx, p.ctx, p.cfg, dir, all)
	if err != nil {
		return nil, err
	}
	proc.started, proc.pooled = p.cfg.Now(), env == nil
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout)
	defer cancel()
	if _, err := p.schemas.whole(ctx, proc.conn, methodSchema); err != nil {
		proc.end()
		return nil, fmt.Errorf("read provider schema: %w", err)
	}
	return proc, nil
}

// unchanged checks that the binary is still the one whose checksum was verified before New.
func (p *Pool) unchanged() error {
	now, err := os.Stat(p.cfg.Path)
	if err != nil {
		return fmt.Errorf("start provider: %w", err)
	}
	if !os.SameFile(now, p.binary) || now.Size() != p.binary.Size() || !now.ModTime().Equal(p.binary.ModTime()) {
		return fmt.Errorf(
			"start provider: %s has changed since the daemon started: restart the daemon, which verifies it", p.cfg.Path)
	}
	return nil
}

// end ends a process in the background. The caller holds mu.
func (p *Pool) end(proc *process) { p.work.Go(proc.end) }

// socket returns the path of a new socket.
func (p *Pool) socket() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", errors.New("lease provider: the pool was closed")
	}
	p.sockets++
	return filepath.Join(p.dir, strconv.Itoa(p.sockets)+".sock"), nil
}

// Lease is the hold of one operation on a process.
type Lease struct {
	pool     *Pool
	process  *process
	proxy    *proxy
	reusable bool
	once     sync.Once
}

// PID returns the process id of the provider.
func (l *Lease) PID() int { return l.process.pid }

// Socket returns the path of the unix socket that the proxy listens on.
func (l *Lease) Socket() string { return l.proxy.socket }

// CorrelationID returns the id that the process sends with each of its Azure calls. All operations that lease the
// process share it.
func (l *Lease) CorrelationID() string { return l.process.correlation }

// Broken returns the reason why the process or the connection to it cannot be trusted, nil while there is none. An
// operation that failed may then be retried with another provider. A call that the client gave up is not such a reason.
func (l *Lease) Broken() error {
	_, broken := l.proxy.state()
	if l.process.client.Exited() {
		return errors.Join(broken, fmt.Errorf("the provider process ended: %s", l.process.stderr.String()))
	}
	return broken
}

// Release cuts off every client of the lease, and ends the process or gives it back to the pool. A process that
// received a stop, or on which a call failed, is always ended. Calling it again does nothing.
func (l *Lease) Release() {
	l.once.Do(func() {
		l.proxy.close()
		spent, broken := l.proxy.state()
		l.pool.giveBack(l.process, l.reusable && !spent && broken == nil)
	})
}
