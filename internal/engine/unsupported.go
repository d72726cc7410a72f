package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// ContainerAttach implements api.Backend. For a container that never ran, the refusal also names the commands that
// start and remove the container, which a foreground docker run has just created.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, _ api.AttachOptions) (io.ReadWriteCloser, error) {
	refusal := api.NeedsExec("attach")
	if c, err := e.cfg.Store.Container(ctx, ref); err == nil && c.State == store.Created {
		refusal.Message += fmt.Sprintf(
			" The container is kept as %[1]s: \"docker start %[1]s\" starts it, \"docker rm %[1]s\" removes it.", c.Name)
	}
	return nil, refusal
}
