package api

import (
	"context"
	"io"
)

// Unsupported implements the methods of Backend for which Azure Functions has no counterpart: each returns a
// NotImplemented error, whatever its arguments are. A Backend embeds it and implements the other methods.
type Unsupported struct{}

// ContainerAttach implements Backend.
func (Unsupported) ContainerAttach(context.Context, string, AttachOptions) (io.ReadWriteCloser, error) {
	return refuse[io.ReadWriteCloser](NeedsExec("attach"))
}

// ContainerTop implements Backend.
func (Unsupported) ContainerTop(context.Context, string, string) (TopResponse, error) {
	return refuse[TopResponse](NotSupported("top"))
}

// ContainerStats implements Backend.
func (Unsupported) ContainerStats(context.Context, string, bool) (io.ReadCloser, error) {
	return refuse[io.ReadCloser](NotSupported("stats"))
}

// ContainerPause implements Backend.
func (Unsupported) ContainerPause(context.Context, string) error { return NotSupported("pause") }

// ContainerUnpause implements Backend.
func (Unsupported) ContainerUnpause(context.Context, string) error { return NotSupported("unpause") }

// ExecCreate implements Backend.
func (Unsupported) ExecCreate(context.Context, string, ExecCreateRequest) (ExecCreateResponse, error) {
	return refuse[ExecCreateResponse](NeedsExec("exec"))
}

// ExecStart implements Backend.
func (Unsupported) ExecStart(context.Context, string, ExecStartRequest) (io.ReadWriteCloser, error) {
	return refuse[io.ReadWriteCloser](NeedsExec("exec"))
}

// ExecInspect implements Backend.
func (Unsupported) ExecInspect(context.Context, string) (ExecInspectResponse, error) {
	return refuse[ExecInspectResponse](NeedsExec("exec"))
}

// ImageLoad implements Backend.
func (Unsupported) ImageLoad(context.Context, io.Reader) (io.ReadCloser, error) {
	return refuse[io.ReadCloser](NotSupported("image load"))
}

// NetworkCreate implements Backend.
func (Unsupported) NetworkCreate(context.Context, NetworkCreateRequest) (NetworkCreateResponse, error) {
	return refuse[NetworkCreateResponse](NotSupported("networks"))
}

// NetworkList implements Backend.
func (Unsupported) NetworkList(context.Context, Filters) ([]NetworkSummary, error) {
	return refuse[[]NetworkSummary](NotSupported("networks"))
}

// NetworkInspect implements Backend.
func (Unsupported) NetworkInspect(context.Context, string) (Network, error) {
	return refuse[Network](NotSupported("networks"))
}

// NetworkConnect implements Backend.
func (Unsupported) NetworkConnect(context.Context, string, NetworkConnectRequest) error {
	return NotSupported("networks")
}

// NetworkDisconnect implements Backend.
func (Unsupported) NetworkDisconnect(context.Context, string, NetworkDisconnectRequest) error {
	return NotSupported("networks")
}

// NetworkRemove implements Backend.
func (Unsupported) NetworkRemove(context.Context, string) error { return NotSupported("networks") }

// NetworkPrune implements Backend.
func (Unsupported) NetworkPrune(context.Context, Filters) error { return NotSupported("networks") }

// VolumeCreate implements Backend.
func (Unsupported) VolumeCreate(context.Context, VolumeCreateRequest) (Volume, error) {
	return refuse[Volume](NotSupported("volumes"))
}

// VolumeList implements Backend.
func (Unsupported) VolumeList(context.Context, Filters) (VolumeListResponse, error) {
	return refuse[VolumeListResponse](NotSupported("volumes"))
}

// VolumeInspect implements Backend.
func (Unsupported) VolumeInspect(context.Context, string) (Volume, error) {
	return refuse[Volume](NotSupported("volumes"))
}

// VolumeRemove implements Backend.
func (Unsupported) VolumeRemove(context.Context, string, bool) error { return NotSupported("volumes") }

// VolumePrune implements Backend.
func (Unsupported) VolumePrune(context.Context, Filters) error { return NotSupported("volumes") }

// refuse returns the zero value of a method's result beside its error.
func refuse[T any](err error) (none T, _ error) { return none, err }
