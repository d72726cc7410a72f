package engine

import (
	"context"
	"io"

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
	return f, f.begin(ctx)
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
