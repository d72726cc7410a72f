package handler

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	// killAfter is how long a command may take to end after TERM.
	killAfter = 3 * time.Second
	// drainAfter is how long output is read on after the command has ended, from children it left behind.
	drainAfter = 2 * time.Second
	// maxFinished is how many finished runs are remembered.
	maxFinished = 100
)

// Exit codes of runs that have none of their own, after the shell's and timeout(1)'s.
const (
	exitTimeout       = 124
	exitCannotExecute = 126
	exitNotFound      = 127
	exitSignal        = 128
)

// runs are the runs that this handler knows.
type runs struct {
	cfg  config
	out  io.Writer
	errs io.Writer
	work sync.WaitGroup

	mu       sync.Mutex
	byID     map[string]*runState
	finished []string // in order
	stopped  bool

	printMu sync.Mutex // one line at a time, over both streams
}

func newRuns(cfg config, stdout, stderr io.Writer) *runs {
	return &runs{cfg: cfg, out: stdout, errs: stderr, byID: map[string]*runState{}}
}

// runState is one run.
type runState struct {
	done chan struct{} // closed when it has ended
	kill chan struct{} // closed to end it early
	once sync.Once

	mu     sync.Mutex
	run    protocol.Run
	output Capture
}

func (r *runState) snapshot() protocol.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.run
	if out.Done {
		out.Lines, out.Truncated = r.output.Lines()
	}
	return out
}

func (r *runs) find(id string) (*runState, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rn, ok := r.byID[id]
	return rn, ok
}

// start starts a run unless there is one with this id, and returns it.
func (r *runs) start(id string, timeout time.Duration) (*runState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rn, ok := r.byID[id]; ok {
		return rn, nil
	}
	if r.stopped {
		return nil, errors.New("the handler is stopping")
	}
	rn := &runState{
		done: make(chan struct{}), kill: make(chan struct{}),
		run: protocol.Run{RunID: id, StartedAt: time.Now().UTC()}, output: NewCapture(r.cfg.outputLimit),
	}
	r.byID[id] = rn
	r.work.Go(func() {
		code, message := r.execute(rn, id, timeout)
		r.finish(rn, code, message)
	})
	return rn, nil
}

// finish records a run's end and forgets the oldest finished one beyond the limit.
func (r *runs) finish(rn *runState, code int, message string) {
	rn.mu.Lock()
	rn.run.Done, rn.run.ExitCode, rn.run.Error, rn.run.FinishedAt = true, code, message, time.Now().UTC()
	id, last, ended := rn.run.RunID, rn.output.seq, rn.run.FinishedAt
	rn.mu.Unlock()
	// Before anybody is told: the host may end at once.
	r.print(protocol.Line{RunID: id, Stream: protocol.End, Seq: last + 1, Time: ended.Truncate(100 * time.Nanosecond), Text: strconv.Itoa(code)})
	close(rn.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = append(r.finished, id)
	if len(r.finished) > maxFinished {
		delete(r.byID, r.finished[0])
		r.finished = r.finished[1:]
	}
}

// stop ends all runs and waits for them.
func (r *runs) stop() {
	r.mu.Lock()
	r.stopped = true
	for _, rn := range r.byID {
		rn.once.Do(func() { close(rn.kill) })
	}
	r.mu.Unlock()
	r.work.Wait()
}

// execute runs the command to its end. message is empty for an ordinary exit.
func (r *runs) execute(rn *runState, id string, timeout time.Duration) (code int, message string) {
	if len(r.cfg.command) == 0 {
		return exitNotFound, "no command: give the container one, or name the image's own in the arguments of customHandler.description in host.json"
	}
	if dir := r.cfg.workingDir; dir != "" {
		// The error of a start in a folder that is not there names the command instead.
		if _, err := os.Stat(dir); err != nil {
			return exitCode(err), "working folder: " + err.Error()
		}
	}
	cmd := exec.Command(r.cfg.command[0], r.cfg.command[1:]...)
	if cmd.Err != nil {
		// Found beside the working folder only: say so in the shell's way.
		return exitCode(cmd.Err), cmd.Err.Error()
	}
	cmd.Dir = r.cfg.workingDir
	cmd.Env = r.cfg.childEnv(id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = drainAfter
	stdout := r.newLines(rn, id, protocol.Stdout)
	stderr := r.newLines(rn, id, protocol.Stderr)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		return exitCode(err), err.Error()
	}
	ended := make(chan struct{})
	var killer sync.WaitGroup
	timedOut, stopped := false, false
	killer.Go(func() {
		var limit <-chan time.Time
		if timeout > 0 {
			timer := time.NewTimer(timeout)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-ended:
			return
		case <-limit:
			timedOut = true
		case <-rn.kill:
			stopped = true
		}
		terminate(cmd.Process.Pid, ended)
	})
	err := cmd.Wait()
	close(ended)
	killer.Wait()
	// What the command left behind in its group must not outlive the run.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails when nothing is left
	stdout.flush()
	stderr.flush()
	switch {
	case timedOut:
		return exitTimeout, fmt.Sprintf("the run was ended after its time limit of %s", timeout)
	case stopped:
		return exitSignal + int(syscall.SIGTERM), "the run was ended because its container was stopped"
	case errors.Is(err, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode(), "" // children of the command held its output open; the command itself had ended well
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal()), fmt.Sprintf("the command was ended by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		return exitCannotExecute, err.Error()
	}
	return cmd.ProcessState.ExitCode(), ""
}

// terminate asks a process group to end, and kills it when it does not.
func terminate(pid int, ended <-chan struct{}) {
	_ = syscall.Kill(-pid, syscall.SIGTERM) // it may have ended by itself just now
	timer := time.NewTimer(killAfter)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// exitCode is the shell's code for a command that could not be started.
func exitCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitCannotExecute
}
