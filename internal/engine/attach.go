package engine

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// noInput tells an attached client that wants to send input where its input goes.
const noInput = "azf: input is not connected: the command reads nothing"

// ContainerAttach implements api.Backend. With AttachOutput, the stream has the output of the run under way or, when
// there is none, of the next run, and ends with it. Otherwise it refuses. A container that removes itself and never ran
// is removed then: the client that created it to attach to it leaves it behind.
func (e *Engine) ContainerAttach(
	ctx context.Context, ref string, opts api.AttachOptions,
) (io.ReadWriteCloser, error) {
	c, err := e.cfg.Store.Container(ctx, ref)
	if !e.cfg.AttachOutput {
		return nil, e.refuseAttach(ctx, c, err)
	}
	if err != nil {
		return nil, err
	}
	if c.State == store.Removing || c.State == store.Dead {
		return nil, api.Errorf(api.Conflict, "container %s is %s: it cannot be attached to", c.Name, c.State)
	}
	selection := api.LogOptions{Stdout: opts.Stdout, Stderr: opts.Stderr, Follow: opts.Stream, Tail: -1}
	f, err := e.follower(ctx, c, selection)
	if err != nil {
		return nil, err
	}
	f.awaited = opts.Stream && f.run == ""
	if !opts.Logs {
		f.earlier = nil
	}
	if opts.Stdin {
		writeLine(&f.frames, api.LogLine{Stream: api.Stderr, Text: noInput}, false, c.Config.Tty)
	}
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	f.close = e.attached.add(c.ID, e.cfg.Store.Now())
	return f, nil
}

// flushTime bounds how long the end of a run is kept back for clients that read its output slowly.
const flushTime = 5 * time.Second

// attachments are the attached clients of this daemon, by container.
type attachments struct {
	mu    sync.Mutex
	byRef map[string][]*attachment
}

// attachment is a client that was attached at a time. gone is closed when it has its output.
type attachment struct {
	at   time.Time
	gone chan struct{}
}

// add registers a client. The caller must call the result when the client has its output; further calls do nothing.
func (a *attachments) add(containerID string, at time.Time) (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byRef == nil {
		a.byRef = map[string][]*attachment{}
	}
	client := &attachment{at: at, gone: make(chan struct{})}
	a.byRef[containerID] = append(a.byRef[containerID], client)
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		close(client.gone)
		left := slices.DeleteFunc(a.byRef[containerID], func(other *attachment) bool { return other == client })
		if a.byRef[containerID] = left; len(left) == 0 {
			delete(a.byRef, containerID)
		}
	})
}

// before returns channels that close when the clients have their output that were attached before a time.
func (a *attachments) before(containerID string, at time.Time) (list []<-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, client := range a.byRef[containerID] {
		if client.at.Before(at) {
			list = append(list, client.gone)
		}
	}
	return list
}

// flushed waits until the clients that were attached before a run ended have its output, as Docker does: programs take
// the end of a run for the end of its output. It gives up with ctx and after flushTime.
func (e *Engine) flushed(ctx context.Context, containerID string, ended time.Time) {
	var late <-chan time.Time
	for _, gone := range e.attached.before(containerID, ended) {
		if late == nil {
			late = e.cfg.Clock.After(flushTime)
		}
		select {
		case <-gone:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// refuseAttach returns the refusal of an attach to a container, which was looked up with the given error. For a
// container that never ran, it says what becomes of it.
func (e *Engine) refuseAttach(ctx context.Context, c store.Container, lookedUp error) *api.Error {
	refusal := api.NeedsExec("attach")
	if lookedUp != nil || c.State != store.Created {
		return refusal
	}
	refusal.Message += " " + api.AfterRefusedAttach(c.Name, c.HostConfig.AutoRemove)
	if !c.HostConfig.AutoRemove {
		return refusal
	}
	if err := e.cfg.Store.Remove(context.WithoutCancel(ctx), c.ID, false, e.enqueueDestroy(c.ID)); err != nil {
		e.cfg.Log.Warn().Err(err).Str("container_id", c.ID).Msg("cannot remove a container whose attach was refused")
	}
	return refusal
}
