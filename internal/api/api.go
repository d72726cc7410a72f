// Package api is the vocabulary that the other packages share: Docker's wire types, the Backend interface that the server
// calls and the engine implements, the kinds of error, and the capabilities. It is the only package that imports moby's types.
// It must not know of HTTP, Terraform, Azure or a database.
//
//	var b api.Backend = engine
//	_, err := b.ContainerInspect(ctx, "web")
//	if api.KindOf(err) == api.NotFound { ... }
package api

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
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

// LogOptions selects lines of a container's last run.
type LogOptions struct {
	Stdout, Stderr bool
	Timestamps     bool
	// Tail is how many lines from the end; negative means all.
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
}

// ListOptions selects containers. By default only running ones are listed.
type ListOptions struct {
	All bool
	// Limit keeps the newest; 0 means no limit. A limit implies All, as Docker does.
	Limit int
}

// Backend is what the server asks of the engine. Containers are named by their id, an unambiguous prefix of it, or their name.
// Methods return *Error for everything a client can do something about. They block until their effect is complete unless
// they say otherwise; when ctx ends first they return its error and the effect still completes.
type Backend interface {
	Capabilities() Capabilities
	// ContainerCreate makes the container's function app and returns when it exists.
	ContainerCreate(ctx context.Context, name string, req CreateRequest) (CreateResponse, error)
	ContainerInspect(ctx context.Context, ref string) (InspectResponse, error)
	ContainerList(ctx context.Context, opts ListOptions) ([]Summary, error)
	// ContainerStart returns when the run is recorded, before its function has been called. A running container is a NotModified error.
	ContainerStart(ctx context.Context, ref string) error
	// ContainerWait finds the container at once and then calls accepted, before it blocks for the condition.
	ContainerWait(ctx context.Context, ref string, cond WaitCondition, accepted func()) (WaitResponse, error)
	// ContainerLogs returns the lines in order. It does not follow. tty tells that the container's streams are one.
	ContainerLogs(ctx context.Context, ref string, opts LogOptions) (lines []LogLine, tty bool, err error)
	// ContainerRemove destroys the function app and forgets the container. A running one needs force.
	ContainerRemove(ctx context.Context, ref string, force bool) error
}
