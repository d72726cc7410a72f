package api

import (
	"context"
	"io"
)

// ListOptions selects containers. By default only running ones are listed.
type ListOptions struct {
	All bool
	// Limit keeps the newest; 0 means no limit. A limit implies All, as Docker does.
	Limit   int
	Filters Filters
}

// ImageListOptions selects images. All shows the untagged ones too.
type ImageListOptions struct {
	All     bool
	Filters Filters
}

// Backend is the interface of the public Sockerless specification, with a context first. The server calls it and
// the engine implements it. Containers are identified by their id, an unambiguous prefix of the id, or their name;
// images by reference, id, or a prefix of the id.
//
// Methods return an *Error for every failure that a client can act on. A feature that Azure Functions lacks is a
// NotImplemented error, see Unsupported. Methods block until their effect is complete unless they say otherwise.
// When ctx ends first, they return its error and the effect still completes. The caller closes the streams.
type Backend interface {
	Capabilities() Capabilities
	// Ready returns nil when the backend can serve requests.
	Ready(ctx context.Context) error
	Version(ctx context.Context) Version
	Info(ctx context.Context) (Info, error)
	// SystemEvents streams Events as JSON lines. The past events that opts selects come first.
	SystemEvents(ctx context.Context, opts EventsOptions) (io.ReadCloser, error)
	SystemDf(ctx context.Context) (DiskUsage, error)
	// Orphans lists what is in Azure without a container. OrphansConfirm has some of it destroyed, each given by the id
	// of its container, a prefix of it, or the name of its function app, and returns it before it is gone. The
	// specification has neither.
	Orphans(ctx context.Context) ([]Orphan, error)
	// FoundationCreate creates what containers share, if it is not there, and returns it. It blocks until it is there.
	// approved is the digest of a held change that is applied, "" applies none; another change is a Conflict error.
	FoundationCreate(ctx context.Context, approved string) (Foundation, error)
	OrphansConfirm(ctx context.Context, refs []string) ([]Orphan, error)
	// Audit streams the records of the audit trail that opts selects as JSON lines, the oldest first. The stream ends with
	// the newest one. AuditCheckpoint returns the signed text of a checkpoint of the trail as it is now.
	Audit(ctx context.Context, opts AuditOptions) (io.ReadCloser, error)
	AuditCheckpoint(ctx context.Context) ([]byte, error)
	// AuthLogin checks credentials against their registry. It stores nothing.
	AuthLogin(ctx context.Context, auth AuthConfig) (AuthResponse, error)

	// ContainerCreate creates the container's function app and returns when the app exists.
	ContainerCreate(ctx context.Context, name string, req CreateRequest) (CreateResponse, error)
	ContainerInspect(ctx context.Context, ref string) (InspectResponse, error)
	ContainerList(ctx context.Context, opts ListOptions) ([]Summary, error)
	// ContainerStart returns when the run is recorded, before its function has been called. For a running container it
	// returns a NotModified error.
	ContainerStart(ctx context.Context, ref string) error
	// ContainerStop and ContainerKill succeed for a running container without an effect on its run: a run ends by itself
	// or by a forced removal. For a container that does not run, stop returns a NotModified and kill a Conflict error.
	ContainerStop(ctx context.Context, ref string, timeout *int) error
	ContainerKill(ctx context.Context, ref, signal string) error
	// ContainerRestart waits for the end of the current run and then starts the next one, as ContainerStart does. When
	// ctx ends first, it starts nothing.
	ContainerRestart(ctx context.Context, ref string, timeout *int) error
	// ContainerRemove destroys the function app and deletes the container. A running container needs force.
	ContainerRemove(ctx context.Context, ref string, force bool) error
	ContainerRename(ctx context.Context, ref, name string) error
	// ContainerWait looks the container up and then calls accepted, before it blocks until the condition holds.
	ContainerWait(ctx context.Context, ref string, cond WaitCondition, accepted func()) (WaitResponse, error)
	// ContainerLogs streams the lines that exist, in Docker's frames, or raw when the container has a terminal.
	ContainerLogs(ctx context.Context, ref string, opts LogOptions) (io.ReadCloser, error)
	// ContainerPrune removes all containers that do not run.
	ContainerPrune(ctx context.Context, filters Filters) (PruneReport, error)

	ContainerAttach(ctx context.Context, ref string, opts AttachOptions) (io.ReadWriteCloser, error)
	ContainerTop(ctx context.Context, ref, psArgs string) (TopResponse, error)
	ContainerStats(ctx context.Context, ref string, stream bool) (io.ReadCloser, error)
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error

	ExecCreate(ctx context.Context, ref string, req ExecCreateRequest) (ExecCreateResponse, error)
	ExecStart(ctx context.Context, id string, req ExecStartRequest) (io.ReadWriteCloser, error)
	ExecInspect(ctx context.Context, id string) (ExecInspectResponse, error)

	// ImagePull records an image with the details from its registry and streams ProgressMessages as JSON lines. An
	// unreachable registry is not an error; a registry's answer that the image does not exist is one. platform is
	// os/arch, empty for linux/amd64.
	ImagePull(ctx context.Context, ref string, auth AuthConfig, platform string) (io.ReadCloser, error)
	ImageInspect(ctx context.Context, name string) (ImageInspectResponse, error)
	ImageLoad(ctx context.Context, tar io.Reader) (io.ReadCloser, error)
	ImageTag(ctx context.Context, source, repo, tag string) error
	ImageList(ctx context.Context, opts ImageListOptions) ([]ImageSummary, error)
	ImageRemove(ctx context.Context, name string, force, prune bool) ([]ImageDeleted, error)
	ImageHistory(ctx context.Context, name string) ([]ImageHistoryItem, error)
	ImagePrune(ctx context.Context, filters Filters) (ImagePruneReport, error)

	NetworkCreate(ctx context.Context, req NetworkCreateRequest) (NetworkCreateResponse, error)
	NetworkList(ctx context.Context, filters Filters) ([]NetworkSummary, error)
	NetworkInspect(ctx context.Context, id string) (Network, error)
	NetworkConnect(ctx context.Context, id string, req NetworkConnectRequest) error
	NetworkDisconnect(ctx context.Context, id string, req NetworkDisconnectRequest) error
	NetworkRemove(ctx context.Context, id string) error
	NetworkPrune(ctx context.Context, filters Filters) error

	VolumeCreate(ctx context.Context, req VolumeCreateRequest) (Volume, error)
	VolumeList(ctx context.Context, filters Filters) (VolumeListResponse, error)
	VolumeInspect(ctx context.Context, name string) (Volume, error)
	VolumeRemove(ctx context.Context, name string, force bool) error
	VolumePrune(ctx context.Context, filters Filters) error
}
