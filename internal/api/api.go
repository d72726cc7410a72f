// Package api is the vocabulary that the other packages share: Docker's wire types, the Backend interface that the server
// calls and the engine implements, the kinds of error, and the capabilities. It is the only package that imports moby's types.
// It must not know of HTTP, Terraform, Azure or a database.
//
//	var b api.Backend = engine
//	_, err := b.ContainerInspect(ctx, "web")
//	if api.KindOf(err) == api.NotFound { ... }
package api

import (
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
	// NetworkingConfig is the networks asked for at create.
	NetworkingConfig = network.NetworkingConfig
	// NetworkSettings is the networks shown at inspect.
	NetworkSettings = container.NetworkSettings
	// NetworkSettingsSummary is the networks shown in a list.
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
	// WaitCondition says what a wait waits for.
	WaitCondition = container.WaitCondition
	// TopResponse is a container's processes.
	TopResponse = container.TopResponse
	// ContainerDiskUsage is what containers take, in the answer to system/df.
	ContainerDiskUsage = container.DiskUsage

	// ExecCreateRequest, ExecCreateResponse, ExecStartRequest and ExecInspectResponse are of commands in a container.
	ExecCreateRequest   = container.ExecCreateRequest
	ExecCreateResponse  = common.IDResponse
	ExecStartRequest    = container.ExecStartRequest
	ExecInspectResponse = container.ExecInspectResponse

	// ImageSummary is an entry of a list of images.
	ImageSummary = image.Summary
	// ImageDeleted is one thing that removing an image did.
	ImageDeleted = image.DeleteResponse
	// ImageHistoryItem is one layer of an image's history.
	ImageHistoryItem = image.HistoryResponseItem
	// ImageDiskUsage is what images take, in the answer to system/df.
	ImageDiskUsage = image.DiskUsage
	// ProgressMessage is a line of a pull's stream.
	ProgressMessage = jsonstream.Message
	// ProgressError is the error within a ProgressMessage.
	ProgressError = jsonstream.Error

	// AuthConfig is a registry's credentials.
	AuthConfig = registry.AuthConfig
	// AuthResponse is the answer to a login.
	AuthResponse = registry.AuthResponse

	// Network, NetworkCreateRequest, NetworkCreateResponse, NetworkConnectRequest and NetworkDisconnectRequest are of networks.
	Network                  = network.Inspect
	NetworkSummary           = network.Summary
	NetworkCreateRequest     = network.CreateRequest
	NetworkCreateResponse    = network.CreateResponse
	NetworkConnectRequest    = network.ConnectRequest
	NetworkDisconnectRequest = network.DisconnectRequest

	// Volume, VolumeCreateRequest and VolumeListResponse are of volumes.
	Volume              = volume.Volume
	VolumeCreateRequest = volume.CreateRequest
	VolumeListResponse  = volume.ListResponse

	// Event is a line of the stream of events.
	Event = events.Message
	// EventType is the kind of thing that an event is about, EventAction what happened to it.
	EventType   = events.Type
	EventAction = events.Action

	// Info describes the daemon and its host.
	Info = system.Info
)

// Kinds of things that events are about.
const (
	ContainerEvent = events.ContainerEventType
	ImageEvent     = events.ImageEventType
)

// What happens to containers and images.
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
)

// Conditions of a wait.
const (
	WaitNotRunning = container.WaitConditionNotRunning
	WaitNextExit   = container.WaitConditionNextExit
	WaitRemoved    = container.WaitConditionRemoved
)

// InspectResponse is Docker's inspect answer with what Terraform and Azure know of the container beside it.
type InspectResponse struct {
	container.InspectResponse
	AZF AzureDetails
}

// AzureDetails tells where a container lives in Azure and on disk. Fields are empty until they are known.
type AzureDetails struct {
	// FunctionApp is the name of the container's function app, ResourceID its Azure resource id.
	FunctionApp string
	ResourceID  string
	// HostName answers the app's HTTPS requests.
	HostName string
	// Workspace is the folder of the container's Terraform workspace on the daemon's machine.
	Workspace string
	// Plan sums up the Terraform plan that made the container, such as "1 to add, 0 to change, 0 to destroy".
	Plan string
	// RunID and TraceID name the last run: TraceID is the operation id in Application Insights.
	RunID   string
	TraceID string
}

// Capabilities is what a front end asks before it uses a backend. Its JSON is flat.
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

// Versions of Docker's API whose shapes are answered: from the oldest that its clients still speak to the newest that moby's types describe.
const (
	APIVersion    = "1.56"
	MinAPIVersion = "1.24"
)

// Version is the answer to version, ComponentVersion one part of it.
type (
	Version          = system.VersionResponse
	ComponentVersion = system.ComponentVersion
)

// DiskUsage is the answer to system/df in both of Docker's shapes: the lists of API versions up to 1.51, and the usage records since.
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

// ImageInspectResponse is Docker's inspect answer with what this backend knows of the image beside it.
type ImageInspectResponse struct {
	image.InspectResponse
	AZF ImageDetails
}

// ImageDetails tells how much is known of an image. Azure pulls the image itself, so one that the daemon could not resolve may run all the same.
type ImageDetails struct {
	// Resolved tells that the registry was asked and answered; else ID is made from the reference, and size and configuration are empty.
	Resolved bool
	// Error says why it is not resolved, empty when it was never tried.
	Error string `json:",omitempty"`
}

// Filters are the values of each filter's name.
type Filters map[string][]string

// PruneReport names what a prune has deleted. Nothing is reclaimed: images and containers take no space here.
type PruneReport struct {
	ContainersDeleted []string
	SpaceReclaimed    uint64
}

// ImagePruneReport names what an image prune has deleted.
type ImagePruneReport struct {
	ImagesDeleted  []ImageDeleted
	SpaceReclaimed uint64
}

// EventsOptions selects events. Zero times are no bounds; with Until, the stream ends there, else it goes on until it is closed.
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
	// Follow is taken and has no effect: the stream ends after the lines that are there.
	Follow bool
	// Tail is how many lines from the end of what the other fields select; negative means all.
	Tail int
	// Since and Until bound the lines' times, inclusive; zero means unbounded.
	Since, Until time.Time
}

// Log streams as LogLine names them.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// LogLine is one line of output, without its line feed.
type LogLine struct {
	Time   time.Time
	Stream string
	Text   string
	// Seq counts the lines of a run from 1 over both streams; 0 is not known.
	Seq int `json:",omitempty"`
	// Omitted is set on a line that stands for lines that are left out: those up to its own Seq. Its Time is that of the line behind them.
	Omitted *OmittedLines `json:",omitempty"`
}

// OmittedLines is how many lines of each stream are left out at one place.
type OmittedLines struct{ Stdout, Stderr int }
