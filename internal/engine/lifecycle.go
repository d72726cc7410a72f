package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	sysignal "github.com/moby/sys/signal"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/filters"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/store"
)

// ContainerStart implements api.Backend.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	if c.State == store.Running {
		return store.AlreadyRunning(c) // before a run that ends now lets another one begin that nobody was asked about
	}
	if _, err := e.askPolicies(ctx, gate.Start, &c, ""); err != nil {
		return err
	}
	trace, err := randomHex(16)
	if err != nil {
		return err
	}
	span, err := randomHex(8)
	if err != nil {
		return err
	}
	run := store.Run{ID: uuid.NewString(), ContainerID: c.ID, TraceID: trace, SpanID: span}
	run.Origin, _ = api.OriginOf(ctx)
	return e.cfg.Store.Start(ctx, run, e.enqueue(invokeArgs{RunID: run.ID}, new(int64)))
}

// traceparent returns the run's W3C trace context: version 00, sampled.
func traceparent(run store.Run) string { return "00-" + run.TraceID + "-" + run.SpanID + "-01" }

// ContainerWait implements api.Backend. It waits for the end of a run and not for a state, so that a container that is
// started again at once still wakes everyone who waited for its exit.
func (e *Engine) ContainerWait(
	ctx context.Context, ref string, cond api.WaitCondition, accepted func(),
) (api.WaitResponse, error) {
	switch cond {
	case "":
		cond = api.WaitNotRunning
	case api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved:
	default:
		return api.WaitResponse{}, api.Errorf(api.InvalidParameter,
			"invalid condition: %q: use not-running, next-exit or removed", cond)
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return api.WaitResponse{}, err
	}
	ended, err := e.cfg.Store.FinishedRuns(ctx, c.ID)
	if err != nil {
		return api.WaitResponse{}, err
	}
	// Read the container after the count: a run that still goes on here is not among the runs that were counted.
	if c, err = e.cfg.Store.Container(ctx, c.ID); err != nil {
		return api.WaitResponse{}, err
	}
	accepted()
	if cond == api.WaitNotRunning && c.State != store.Running {
		e.flushed(ctx, c.ID, c.Finished)
		return waitResponse(c.ExitCode, c.Error), nil
	}
	for {
		changed := e.cfg.Store.Watch(c.ID)
		res, done, err := e.exited(ctx, c, cond, ended)
		again := e.lookAgain(err)
		if again == nil && (err != nil || done) {
			return res, err
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return api.WaitResponse{}, context.Cause(ctx)
		case <-e.stopping:
			return api.WaitResponse{}, stopError("the daemon is stopping: send the wait again when the daemon has restarted")
		}
	}
}

// exited reports whether a wait is over, and returns its response. ended is the number of runs that had ended when the
// wait began.
func (e *Engine) exited(
	ctx context.Context, c store.Container, cond api.WaitCondition, ended int,
) (res api.WaitResponse, done bool, err error) {
	now, err := e.cfg.Store.Container(ctx, c.ID)
	if api.KindOf(err) == api.NotFound {
		// The container's runs are gone with it. The event of the last exit is kept.
		code, _, err := e.cfg.Store.LastExit(ctx, c.ID)
		e.flushed(ctx, c.ID, e.cfg.Store.Now())
		return waitResponse(code, ""), true, err
	}
	if err != nil || cond == api.WaitRemoved && now.State != store.Dead {
		return res, false, err
	}
	if now.State == store.Dead {
		return waitResponse(now.ExitCode, now.Error), true, nil // its removal failed, and it will not run again
	}
	run, ok, err := e.cfg.Store.FinishedRun(ctx, c.ID, ended)
	if ok {
		e.flushed(ctx, c.ID, run.Finished)
	}
	return waitResponse(run.ExitCode, run.Error), ok, err
}

func waitResponse(code int, message string) api.WaitResponse {
	out := api.WaitResponse{StatusCode: int64(code)}
	if message != "" {
		out.Error = &api.WaitError{Message: message}
	}
	return out
}

// ContainerRemove implements api.Backend.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, force bool) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	if c.State != store.Dead { // what has failed can always be removed
		if _, err := e.askPolicies(ctx, gate.Remove, &c, ""); err != nil {
			return err
		}
	}
	var job int64
	if err := e.cfg.Store.Remove(ctx, c.ID, force, e.enqueue(destroyArgs{ContainerID: c.ID}, &job)); err != nil {
		return err
	}
	return e.await(ctx, c.ID, store.Removing, job)
}

// ContainerStop implements api.Backend. Azure Functions cannot end one run: the run ends by itself or at its time
// limit.
func (e *Engine) ContainerStop(ctx context.Context, ref string, _ *int) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	if c.State != store.Running {
		return api.Errorf(api.NotModified, "container %s is not running", c.Name)
	}
	return e.askToStop(ctx, c, "stop")
}

// ContainerKill implements api.Backend.
func (e *Engine) ContainerKill(ctx context.Context, ref, signal string) error {
	if signal != "" {
		if n, err := sysignal.ParseSignal(signal); err != nil || !sysignal.ValidSignalForPlatform(n) {
			return api.Errorf(api.InvalidParameter, "invalid signal: %s", signal)
		}
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	if c.State != store.Running {
		return api.Errorf(api.Conflict, "cannot kill container: %s: container %s is not running", ref, c.ID)
	}
	return e.askToStop(ctx, c, "kill")
}

// askToStop records that somebody wants the run to end. It goes on; but then the container can be removed without
// force, as schedulers do after a stop, and that ends the run.
func (e *Engine) askToStop(ctx context.Context, c store.Container, verb string) error {
	e.cfg.Log.Warn().Str("container_id", c.ID).Str("verb", verb).
		Msg("the run goes on: it ends by itself, at its time limit, or when the container is removed")
	return e.cfg.Store.AskToStop(ctx, c.ID)
}

// ContainerRestart implements api.Backend.
func (e *Engine) ContainerRestart(ctx context.Context, ref string, _ *int) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	for {
		err := e.ContainerStart(ctx, c.ID)
		if err == nil {
			return e.cfg.Store.Restarted(ctx, c.ID)
		}
		if api.KindOf(err) != api.NotModified {
			return err
		}
		if _, err := e.ContainerWait(ctx, c.ID, api.WaitNotRunning, func() {}); err != nil {
			return err
		}
	}
}

// ContainerRename implements api.Backend. The function app keeps its tag with the name at create, because a change of
// tags would restart the app.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return api.Errorf(api.InvalidParameter, "Neither old nor new names may be empty")
	}
	if err := checkName(name); err != nil {
		return err
	}
	return e.cfg.Store.Rename(ctx, c.ID, name)
}

// ContainerPrune implements api.Backend. A container whose removal fails stays as dead. The report does not list it.
func (e *Engine) ContainerPrune(ctx context.Context, given api.Filters) (api.PruneReport, error) {
	report := api.PruneReport{ContainersDeleted: []string{}}
	match, err := filters.PruneContainers(given, e.cfg.Store.Now().Local())
	if err != nil {
		return report, err
	}
	list, err := e.cfg.Store.Containers(ctx, 0, store.Created, store.Exited, store.Dead)
	if err != nil {
		return report, err
	}
	var mu sync.Mutex
	var g errgroup.Group // one failure does not end the others; the queue bounds how many run at once
	for _, c := range list {
		if !match(filtered(c, merged(c))) {
			continue
		}
		g.Go(func() error {
			err := e.ContainerRemove(ctx, c.ID, false)
			if kind := api.KindOf(err); kind == api.NotFound || kind == api.Conflict {
				return nil // another request removed or started it
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				report.ContainersDeleted = append(report.ContainersDeleted, c.ID)
			}
			return err
		})
	}
	err = errors.Join(g.Wait(), e.cfg.Store.Pruned(context.WithoutCancel(ctx), api.ContainerEvent, 0))
	slices.Sort(report.ContainersDeleted)
	if len(report.ContainersDeleted) > 0 && ctx.Err() == nil {
		return report, nil // the daemon's log has the failures
	}
	return report, err
}
