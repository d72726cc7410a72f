package handler

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	// killAfter is the time between TERM and KILL for a command that does not end.
	killAfter = 3 * time.Second
	// drainAfter limits the time to read the output of a command's children after the command has ended.
	drainAfter = 2 * time.Second
	// maxFinished is the number of finished runs that the handler keeps.
	maxFinished = 100
)

// runs holds the runs that this handler knows.
type runs struct {
	cfg      config
	accounts accounts
	reaper   *reaper // nil outside a wrapped image
	out      io.Writer
	errs     io.Writer
	work     sync.WaitGroup

	mu       sync.Mutex
	byID     map[string]*runState
	finished []string // in the order of their ends
	stopped  bool

	printMu sync.Mutex // serializes the lines of both streams
}

func newRuns(cfg config, stdout, stderr io.Writer) *runs {
	return &runs{cfg: cfg, accounts: imageAccounts(), out: stdout, errs: stderr, byID: map[string]*runState{}}
}

// runState is one run.
type runState struct {
	done chan struct{} // closed after the end of the run
	kill chan struct{} // closed to end the run early
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

// start returns the run with this id. It starts the run unless the run exists.
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

// finish records the end of a run, and deletes the oldest finished run when there are more than maxFinished.
func (r *runs) finish(rn *runState, code int, message string) {
	rn.mu.Lock()
	rn.run.Done, rn.run.ExitCode, rn.run.Error, rn.run.FinishedAt = true, code, message, time.Now().UTC()
	id, last, ended := rn.run.RunID, rn.output.seq, rn.run.FinishedAt
	rn.mu.Unlock()
	// The line comes before the answer to a client, as the host may end right after that answer.
	r.print(protocol.Line{
		RunID: id, Stream: protocol.End, Seq: last + 1,
		Time: ended.Truncate(100 * time.Nanosecond), Text: strconv.Itoa(code),
	})
	close(rn.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = append(r.finished, id)
	if len(r.finished) > maxFinished {
		delete(r.byID, r.finished[0])
		r.finished = r.finished[1:]
	}
}

// stop ends all runs and waits for their ends.
func (r *runs) stop() {
	r.mu.Lock()
	r.stopped = true
	for _, rn := range r.byID {
		rn.once.Do(func() { close(rn.kill) })
	}
	r.mu.Unlock()
	r.work.Wait()
}

// execute runs the command and waits for its end. message is empty for an ordinary exit.
func (r *runs) execute(rn *runState, id string, timeout time.Duration) (code int, message string) {
	spec := r.cfg.spec
	if r.cfg.problem != nil {
		return protocol.ExitCannotExecute, r.cfg.problem.Error()
	}
	if len(spec.Command) == 0 {
		return protocol.ExitNotFound, "no command: give the container one, or name the image's own in the arguments " +
			"of customHandler.description in host.json"
	}
	user, err := r.accounts.accountOf(spec.User, spec.Groups)
	if err != nil {
		return protocol.ExitCannotExecute, err.Error()
	}
	if user.credential == nil && r.cfg.image == nil {
		user.home = "" // the handler's own environment has it
	}
	env, err := r.cfg.env(user.home)
	if err != nil {
		return protocol.ExitCannotExecute, err.Error()
	}
	if err := r.workingDir(spec.WorkingDir); err != nil {
		return exitCode(err), "working folder: " + err.Error()
	}
	program, err := lookPath(spec.Command[0], spec.WorkingDir, env)
	if err != nil {
		return exitCode(err), err.Error()
	}
	cmd := &exec.Cmd{Path: program, Args: spec.Command, Dir: spec.WorkingDir, Env: append(env, "AZF_RUN_ID="+id)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user.credential}
	cmd.WaitDelay = drainAfter
	stdout := r.newLines(rn, id, protocol.Stdout)
	stderr := r.newLines(rn, id, protocol.Stderr)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := r.reaper.start(cmd); err != nil {
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
	err = r.reaper.wait(cmd)
	close(ended)
	killer.Wait()
	// The other processes of the command's group must not outlive the run.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails when there are none
	stdout.flush()
	stderr.flush()
	switch {
	case timedOut:
		return protocol.ExitTimeout, fmt.Sprintf("the run was ended after its time limit of %s", timeout)
	case stopped:
		return protocol.ExitSignal + int(syscall.SIGTERM), "the run was ended because the Functions host shut down"
	case errors.Is(err, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode(), "" // only children of the command still held its output open
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		sig := status.Signal()
		return protocol.ExitSignal + int(sig), fmt.Sprintf("the command was ended by signal %d (%s)", int(sig), sig)
	}
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		return protocol.ExitCannotExecute, err.Error()
	}
	return cmd.ProcessState.ExitCode(), ""
}

// workingDir checks the command's working folder, and creates it in a wrapped image, as Docker does. For a missing
// folder, the error of the command's start would name the command instead.
func (r *runs) workingDir(dir string) (err error) {
	switch {
	case dir == "":
	case r.cfg.image != nil:
		err = os.MkdirAll(dir, 0o755)
	default:
		_, err = os.Stat(dir)
	}
	return err
}

// terminate sends TERM to a process group, and KILL when the group has not ended after killAfter.
func terminate(pid int, ended <-chan struct{}) {
	_ = syscall.Kill(-pid, syscall.SIGTERM) // fails when the group has just ended
	timer := time.NewTimer(killAfter)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// lookPath finds a program as Docker does: a name without a slash on the PATH of the command's own environment, and any
// other relative to its working folder.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // execve, which comes after the change to the folder, says what is wrong with it
	}
	search := ""
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	failure := fs.ErrNotExist
	for _, folder := range filepath.SplitList(search) {
		path := filepath.Join(folder, name)
		if !filepath.IsAbs(folder) {
			path = filepath.Join(dir, path)
		}
		switch info, err := os.Stat(path); {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			failure = fs.ErrPermission
		default:
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: fmt.Errorf("%w in $PATH %q", failure, search)}
}

// exitCode returns the shell's exit code for a command that could not be started.
func exitCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return protocol.ExitNotFound
	}
	return protocol.ExitCannotExecute
}
