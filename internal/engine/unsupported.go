package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// What Azure Functions cannot do is refused whatever it is asked for.

// ContainerAttach implements api.Backend. Of a container that never ran, the refusal says what to do with it: a foreground docker run has
// just created it.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, _ api.AttachOptions) (io.ReadWriteCloser, error) {
	refusal := api.NeedsExec("attach")
	if c, err := e.cfg.Store.Container(ctx, ref); err == nil && c.State == store.Created {
		refusal.Message += fmt.Sprintf(" The container is kept as %[1]s: \"docker start %[1]s\" starts it, \"docker rm %[1]s\" removes it.", c.Name)
	}
	return nil, refusal
}

// ContainerTop implements api.Backend.
func (e *Engine) ContainerTop(context.Context, string, string) (api.TopResponse, error) {
	return api.TopResponse{}, api.NotSupported("top")
}

// ContainerStats implements api.Backend.
func (e *Engine) ContainerStats(context.Context, string, bool) (io.ReadCloser, error) {
	return nil, api.NotSupported("stats")
}

// ContainerPause implements api.Backend.
func (e *Engine) ContainerPause(context.Context, string) error { return api.NotSupported("pause") }

// ContainerUnpause implements api.Backend.
func (e *Engine) ContainerUnpause(context.Context, string) error { return api.NotSupported("unpause") }

// ExecCreate implements api.Backend.
func (e *Engine) ExecCreate(context.Context, string, api.ExecCreateRequest) (api.ExecCreateResponse, error) {
	return api.ExecCreateResponse{}, api.NeedsExec("exec")
}

// ExecStart implements api.Backend.
func (e *Engine) ExecStart(context.Context, string, api.ExecStartRequest) (io.ReadWriteCloser, error) {
	return nil, api.NeedsExec("exec")
}

// ExecInspect implements api.Backend.
func (e *Engine) ExecInspect(context.Context, string) (api.ExecInspectResponse, error) {
	return api.ExecInspectResponse{}, api.NeedsExec("exec")
}

// ImageLoad implements api.Backend.
func (e *Engine) ImageLoad(context.Context, io.Reader) (io.ReadCloser, error) {
	return nil, api.NotSupported("image load")
}

// NetworkCreate implements api.Backend.
func (e *Engine) NetworkCreate(context.Context, api.NetworkCreateRequest) (api.NetworkCreateResponse, error) {
	return api.NetworkCreateResponse{}, api.NotSupported("networks")
}

// NetworkList implements api.Backend.
func (e *Engine) NetworkList(context.Context, api.Filters) ([]api.NetworkSummary, error) {
	return nil, api.NotSupported("networks")
}

// NetworkInspect implements api.Backend.
func (e *Engine) NetworkInspect(context.Context, string) (api.Network, error) {
	return api.Network{}, api.NotSupported("networks")
}

// NetworkConnect implements api.Backend.
func (e *Engine) NetworkConnect(context.Context, string, api.NetworkConnectRequest) error {
	return api.NotSupported("networks")
}

// NetworkDisconnect implements api.Backend.
func (e *Engine) NetworkDisconnect(context.Context, string, api.NetworkDisconnectRequest) error {
	return api.NotSupported("networks")
}

// NetworkRemove implements api.Backend.
func (e *Engine) NetworkRemove(context.Context, string) error { return api.NotSupported("networks") }

// NetworkPrune implements api.Backend.
func (e *Engine) NetworkPrune(context.Context, api.Filters) error {
	return api.NotSupported("networks")
}

// VolumeCreate implements api.Backend.
func (e *Engine) VolumeCreate(context.Context, api.VolumeCreateRequest) (api.Volume, error) {
	return api.Volume{}, api.NotSupported("volumes")
}

// VolumeList implements api.Backend.
func (e *Engine) VolumeList(context.Context, api.Filters) (api.VolumeListResponse, error) {
	return api.VolumeListResponse{}, api.NotSupported("volumes")
}

// VolumeInspect implements api.Backend.
func (e *Engine) VolumeInspect(context.Context, string) (api.Volume, error) {
	return api.Volume{}, api.NotSupported("volumes")
}

// VolumeRemove implements api.Backend.
func (e *Engine) VolumeRemove(context.Context, string, bool) error {
	return api.NotSupported("volumes")
}

// VolumePrune implements api.Backend.
func (e *Engine) VolumePrune(context.Context, api.Filters) error {
	return api.NotSupported("volumes")
}
