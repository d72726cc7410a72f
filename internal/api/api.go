// Package api is the vocabulary that the other packages share: Docker's wire types, the Backend interface that the
// server calls and the engine implements, the kinds of error, and the capabilities. It is the only package that
// imports moby's types. It must not know of HTTP, Terraform, Azure or a database.
//
//	var b api.Backend = engine
//	_, err := b.ContainerInspect(ctx, "web")
//	if api.KindOf(err) == api.NotFound { ... }
package api

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// Docker Engine API types, as moby defines them.
type (
	// CreateRequest is the body of a create.
	CreateRequest = container.CreateRequest
	// CreateResponse is the answer to a create.
	CreateResponse = container.CreateResponse
	// Config is the portable part of a container's configuration.
	Config = container.Config
	// HostConfig is the part of a container's configuration that depends on its host.
	HostConfig = container.HostConfig
	// NetworkingConfig holds the networks that a create asks for.
	NetworkingConfig = network.NetworkingConfig
	// EndpointSettings is a container's part of a network. HardwareAddr is a MAC address.
	EndpointSettings = network.EndpointSettings
	HardwareAddr     = network.HardwareAddr
	// Port is a port with its protocol, such as 80/tcp. PortSet and PortMap are sets of ports, and ports with the
	// addresses at which they are published.
	Port    = network.Port
	PortSet = network.PortSet
	PortMap = network.PortMap
	// PortSummary is a port in a list. HealthSummary is the health in a list.
	PortSummary   = container.PortSummary
	HealthSummary = container.HealthSummary
	// MountPoint is a mount of a container.
	MountPoint = container.MountPoint
	// RestartPolicy says when Docker starts a container again.
	RestartPolicy = container.RestartPolicy
	// NetworkSettings holds the networks that an inspect shows.
	NetworkSettings = container.NetworkSettings
	// NetworkSettingsSummary holds the networks that a list shows.
	NetworkSettingsSummary = container.NetworkSettingsSummary
	// Summary is an entry of a list.
	Summary = container.Summary
	// ContainerState is the name of a state.
	ContainerState = container.ContainerState
	// State is a container's state at inspect.
	State = container.State
	// WaitResponse is the answer to a wait.
	WaitResponse = container.WaitResponse
	// WaitError is the error within a WaitResponse.
	WaitError = container.WaitExitError
	// WaitCondition selects the event that ends a wait.
	WaitCondition = container.WaitCondition
	// TopResponse lists a container's processes.
	TopResponse = container.TopResponse
	// ContainerDiskUsage is the disk usage of containers in the answer to system/df.
	ContainerDiskUsage = container.DiskUsage

	// ExecCreateRequest, ExecCreateResponse, ExecStartRequest and ExecInspectResponse belong to exec.
	ExecCreateRequest   = container.ExecCreateRequest
	ExecCreateResponse  = common.IDResponse
	ExecStartRequest    = container.ExecStartRequest
	ExecInspectResponse = container.ExecInspectResponse

	// ImageSummary is an entry of a list of images.
	ImageSummary = image.Summary
	// ImageDeleted is one effect of removing an image: a tag or an image that is gone.
	ImageDeleted = image.DeleteResponse
	// ImageHistoryItem is one layer of an image's history.
	ImageHistoryItem = image.HistoryResponseItem
	// ImageDiskUsage is the disk usage of images in the answer to system/df.
	ImageDiskUsage = image.DiskUsage
	// ProgressMessage is a line of a pull's stream.
	ProgressMessage = jsonstream.Message
	// ProgressError is the error within a ProgressMessage.
	ProgressError = jsonstream.Error

	// AuthConfig holds the credentials for a registry.
	AuthConfig = registry.AuthConfig
	// AuthResponse is the answer to a login.
	AuthResponse = registry.AuthResponse

	// Network and the types whose names begin with it belong to networks.
	Network                  = network.Inspect
	NetworkSummary           = network.Summary
	NetworkCreateRequest     = network.CreateRequest
	NetworkCreateResponse    = network.CreateResponse
	NetworkConnectRequest    = network.ConnectRequest
	NetworkDisconnectRequest = network.DisconnectRequest

	// Volume, VolumeCreateRequest and VolumeListResponse belong to volumes.
	Volume              = volume.Volume
	VolumeCreateRequest = volume.CreateRequest
	VolumeListResponse  = volume.ListResponse

	// Event is a line of the stream of events.
	Event = events.Message
	// EventType is the kind of object that an event is about. EventAction is the change of the object.
	EventType   = events.Type
	EventAction = events.Action

	// Info describes the daemon and its host. Runtime and RegistryConfig are parts of it.
	Info           = system.Info
	Runtime        = system.RuntimeWithStatus
	RegistryConfig = registry.ServiceConfig
)

// ParsePort reads a port in the form 80/tcp; the protocol may be missing.
func ParsePort(text string) (Port, error) { return network.ParsePort(text) }

// ParsePorts reads a port or a range of ports, such as 80-82/tcp, and returns each of them.
func ParsePorts(text string) ([]Port, error) {
	ports, err := network.ParsePortRange(text)
	if err != nil {
		return nil, err
	}
	return slices.Collect(ports.All()), nil
}

// CheckRestartPolicy returns an error, in Docker's words, for a restart policy that Docker refuses.
func CheckRestartPolicy(policy RestartPolicy) error { return container.ValidateRestartPolicy(policy) }

// NoHealthcheck is the health of a container without a health check.
const NoHealthcheck = container.NoHealthcheck

// Kinds of objects that events are about.
const (
	ContainerEvent = events.ContainerEventType
	ImageEvent     = events.ImageEventType
	DaemonEvent    = events.DaemonEventType
)

// Changes of containers and images that events report.
const (
	EventCreate  = events.ActionCreate
	EventStart   = events.ActionStart
	EventDie     = events.ActionDie
	EventRename  = events.ActionRename
	EventDestroy = events.ActionDestroy
	EventPull    = events.ActionPull
	EventTag     = events.ActionTag
	EventUntag   = events.ActionUnTag
	EventDelete  = events.ActionDelete
	EventRestart = events.ActionRestart
	EventPrune   = events.ActionPrune
)

// Conditions of a wait.
const (
	WaitNotRunning = container.WaitConditionNotRunning
	WaitNextExit   = container.WaitConditionNextExit
	WaitRemoved    = container.WaitConditionRemoved
)

// InspectResponse is Docker's answer to inspect, extended by the container's details in Terraform and Azure.
type InspectResponse struct {
	container.InspectResponse
	AZF AzureDetails
}

// AzureDetails locates a container in Azure and on disk. Fields are empty until they are known.
type AzureDetails struct {
	// FunctionApp is the name of the container's function app, ResourceID its Azure resource id.
	FunctionApp string
	ResourceID  string
	// ServicePlan is the name of the service plan on which the app is, or will be. QueuePlace is the place, from 1, of a
	// container among those that wait for room on one; 0 for one that does not wait.
	ServicePlan string `json:",omitempty"`
	QueuePlace  int    `json:",omitempty"`
	// HostName is the host name of the app, for HTTPS requests.
	HostName string
	// Workspace is the folder of the container's Terraform workspace on the daemon's machine.
	Workspace string
	// Plan summarizes the Terraform plan that created the container, such as "1 to add, 0 to change, 0 to destroy".
	Plan string
	// RunID and TraceID identify the last run. TraceID is the operation id in Application Insights.
	RunID   string
	TraceID string
	// CreatedBy and StartedBy say who has asked for the container and for its last run, nil where that is not known.
	CreatedBy *Origin `json:",omitempty"`
	StartedBy *Origin `json:",omitempty"`
	// Policy holds the verdicts of the policies on the plan that created the container.
	Policy []PolicyVerdict `json:",omitempty"`
	// Derived is the image that Azure runs in place of the container's, which has no Functions host; nil otherwise.
	Derived *Derived `json:",omitempty"`
}

// Derived is an image that the daemon has derived from one without a Functions host. References have digests. Its
// fields are empty until it is made.
type Derived struct {
	Reference string `json:"reference,omitempty"`
	Digest    string `json:"digest,omitempty"`
	// Source is the user's image, and Base the one with the Functions host.
	Source string `json:"source,omitempty"`
	Base   string `json:"base,omitempty"`
	// Handler is the digest of azf-handler.
	Handler string `json:"handler,omitempty"`
	// Recipe is the version of the layout.
	Recipe int `json:"recipe,omitempty"`
	// HostLayers are the digests of the layers with the Functions host.
	HostLayers []string `json:"host_layers,omitempty"`
	// PushedBytes is what was pushed for the container, and MountedBlobs the number of blobs that the registry took over
	// from other repositories. Both are 0 when the derived image was there.
	PushedBytes  int64 `json:"pushed_bytes,omitempty"`
	MountedBlobs int64 `json:"mounted_blobs,omitempty"`
	// At is when the image was derived, or found to be there, for the container.
	At time.Time `json:"at,omitzero"`
}

// Capabilities lists the features of a backend for a front end. Its JSON is flat.
type Capabilities struct {
	Backend           string `json:"backend"`
	Version           string `json:"version"`
	AgentRequired     bool   `json:"agent_required"`
	Exec              bool   `json:"exec"`
	Attach            bool   `json:"attach"`
	Logs              bool   `json:"logs"`
	LogsFollow        bool   `json:"logs_follow"`
	Volumes           bool   `json:"volumes"`
	Networks          bool   `json:"networks"`
	HealthChecks      bool   `json:"health_checks"`
	MaxTimeoutSeconds int    `json:"max_timeout_seconds"`
}

// Versions of Docker's API that the daemon answers: MinAPIVersion is the oldest that Docker's clients still use,
// APIVersion the newest that moby's types describe.
const (
	APIVersion    = "1.56"
	MinAPIVersion = "1.24"
)

// Version is the answer to version. ComponentVersion is one part of it.
type (
	Version          = system.VersionResponse
	ComponentVersion = system.ComponentVersion
)

// DiskUsage is the answer to system/df in both of Docker's forms: the lists of API versions up to 1.51, and the usage
// records since 1.52.
type DiskUsage struct {
	LayersSize int64
	Images     []ImageSummary
	Containers []Summary
	Volumes    []Volume
	BuildCache []struct{}

	ImageUsage      ImageDiskUsage
	ContainerUsage  ContainerDiskUsage
	VolumeUsage     volume.DiskUsage
	BuildCacheUsage build.DiskUsage
}

// ImageInspectResponse is Docker's answer to inspect, extended by this backend's details of the image.
type ImageInspectResponse struct {
	image.InspectResponse
	AZF ImageDetails
}

// ImageDetails reports whether the registry knows an image. Azure pulls the image itself, so an image that the daemon
// could not resolve may still run.
type ImageDetails struct {
	// Resolved reports whether the registry answered. Otherwise ID is derived from the reference, and size and
	// configuration are empty.
	Resolved bool
	// Error is the reason why the image is not resolved. It is empty when the registry was never asked.
	Error string `json:",omitempty"`
}

// Filters holds the values of each filter by the filter's name.
type Filters map[string][]string

// PruneReport lists the containers that a prune has deleted. SpaceReclaimed is 0, as containers take no local space.
type PruneReport struct {
	ContainersDeleted []string
	SpaceReclaimed    uint64
}

// ImagePruneReport lists the images that an image prune has deleted.
type ImagePruneReport struct {
	ImagesDeleted  []ImageDeleted
	SpaceReclaimed uint64
}

// EventsOptions selects events. A zero time does not bound them. With Until the stream ends there; otherwise it goes on
// until it is closed.
type EventsOptions struct {
	Since, Until time.Time
	Filters      Filters
}

// AttachOptions selects the streams of an attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr, Stream, Logs bool
}

// LogOptions selects lines of all of a container's runs.
type LogOptions struct {
	Stdout, Stderr bool
	Timestamps     bool
	// Follow is accepted and has no effect: the stream ends after the lines that exist.
	Follow bool
	// Tail limits the stream to the last lines among those that the other fields select; negative means all.
	Tail int
	// Since and Until bound the times of the lines, both inclusive. A zero time does not bound them.
	Since, Until time.Time
}

// The streams of a LogLine.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// LogLine is one line of output, without its line feed, or a piece of a long line.
type LogLine struct {
	Time   time.Time
	Stream string
	Text   string
	// Bytes is the content where it is not UTF-8; Text then has U+FFFD in places.
	Bytes []byte `json:",omitempty"`
	// Continues is the Seq of the piece that this piece continues. It is 0 at the beginning of a line.
	Continues int `json:",omitempty"`
	// Ending is empty when a line feed follows; otherwise it is one of protocol's endings.
	Ending string `json:",omitempty"`
	// Seq numbers the lines of a run from 1 over both streams; 0 means unknown.
	Seq int `json:",omitempty"`
	// Omitted is set on a line that stands for the omitted lines up to its own Seq. The Time of such a line is that of
	// the line that follows the omitted ones.
	Omitted *OmittedLines `json:",omitempty"`
}

// OmittedLines counts the lines of each stream that are omitted at one place.
type OmittedLines struct{ Stdout, Stderr int }
