package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/filters"
	"github.com/sockerless/backend-azf/store"
)

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return api.Errorf(api.InvalidParameter,
			"Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

// ContainerCreate implements api.Backend.
func (e *Engine) ContainerCreate(ctx context.Context, name string, req api.CreateRequest) (api.CreateResponse, error) {
	id, err := randomHex(32)
	if err != nil {
		return api.CreateResponse{}, err
	}
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		name = "azf-" + id[:12]
	}
	if err := checkName(name); err != nil {
		return api.CreateResponse{}, err
	}
	c := requested(id, name, req)
	if c.Config.Image != "" {
		// Azure does not know an image's id, nor a name that only this daemon has given it.
		if c.Config.Image, err = e.cfg.Store.PullReference(ctx, c.Config.Image); err != nil {
			return api.CreateResponse{}, err
		}
	}
	warnings, err := e.validate(c)
	if err != nil {
		return api.CreateResponse{}, err
	}
	if err := e.admit(ctx); err != nil {
		return api.CreateResponse{}, err
	}
	var job int64
	if err := e.cfg.Store.CreateContainer(ctx, c, e.enqueue(provisionArgs{ContainerID: id}, &job)); err != nil {
		return api.CreateResponse{}, err
	}
	if err := e.await(ctx, id, store.Creating, job); err != nil {
		return api.CreateResponse{}, err
	}
	return api.CreateResponse{ID: id, Warnings: warnings}, nil
}

// requested returns the container that a create request describes.
func requested(id, name string, req api.CreateRequest) store.Container {
	c := store.Container{ID: id, Name: name, FunctionApp: appName(id)}
	if req.Config != nil {
		c.Config = *req.Config
	}
	if req.HostConfig != nil {
		c.HostConfig = *req.HostConfig
	}
	if req.NetworkingConfig != nil {
		c.Networking = *req.NetworkingConfig
	}
	if slices.Equal(c.Config.Entrypoint, []string{""}) {
		c.Config.Entrypoint = nil // clients send [""] for no entrypoint
	}
	return c
}

// ContainerInspect implements api.Backend.
func (e *Engine) ContainerInspect(ctx context.Context, ref string) (api.InspectResponse, error) {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return api.InspectResponse{}, err
	}
	run, _, err := e.cfg.Store.LastRun(ctx, c.ID)
	if err != nil {
		return api.InspectResponse{}, err
	}
	var out api.InspectResponse
	out.ID = c.ID
	out.Name = "/" + c.Name
	out.Created = c.Created.Format(time.RFC3339Nano)
	if command := slices.Concat(c.Config.Entrypoint, c.Config.Cmd); len(command) > 0 {
		out.Path, out.Args = command[0], command[1:]
	}
	out.Image, out.Driver, out.Platform = c.ImageID, "azf", "linux"
	out.Config, out.HostConfig = &c.Config, &c.HostConfig
	out.NetworkSettings = &api.NetworkSettings{Networks: c.Networking.EndpointsConfig}
	out.State = &api.State{
		Status: dockerState(c.State), Running: c.State == store.Running, Dead: c.State == store.Dead,
		ExitCode: c.ExitCode, Error: c.Error, StartedAt: dockerTime(c.Started), FinishedAt: dockerTime(c.Finished),
	}
	out.AZF = api.AzureDetails{
		FunctionApp: c.FunctionApp, ResourceID: c.ResourceID, HostName: c.HostName,
		Workspace: e.cfg.Workspaces.Path(c.ID), Plan: c.PlanSummary, RunID: run.ID, TraceID: run.TraceID,
	}
	return out, nil
}

// dockerState returns Docker's word for a state. Docker has none for a container that is being created.
func dockerState(s store.State) api.ContainerState {
	if s == store.Creating {
		return api.ContainerState(store.Created)
	}
	return api.ContainerState(s)
}

// dockerTime returns Docker's form of a time. The zero time stands for what has not happened.
func dockerTime(t time.Time) string { return t.Format(time.RFC3339Nano) }

// ContainerList implements api.Backend.
func (e *Engine) ContainerList(ctx context.Context, opts api.ListOptions) ([]api.Summary, error) {
	match, err := filters.Containers(opts.Filters, e.containerCreated(ctx))
	if err != nil {
		return nil, err
	}
	var states []store.State
	if !opts.All && opts.Limit <= 0 && len(opts.Filters["status"]) == 0 {
		states = []store.State{store.Running}
	}
	limit := 0
	if len(opts.Filters) == 0 {
		limit = opts.Limit // with filters, it counts what they leave
	}
	list, err := e.cfg.Store.Containers(ctx, limit, states...)
	if err != nil {
		return nil, err
	}
	out := []api.Summary{}
	for _, c := range list {
		if !match(filtered(c)) {
			continue
		}
		out = append(out, e.summary(c))
		if len(out) == opts.Limit {
			break
		}
	}
	return out, nil
}

// containerCreated returns the function with which filters find out when a container was created.
func (e *Engine) containerCreated(ctx context.Context) filters.Created {
	return func(ref string) (time.Time, error) {
		c, err := e.cfg.Store.Container(ctx, ref)
		return c.Created, err
	}
}

// filtered returns what filters look at of a container.
func filtered(c store.Container) filters.Container {
	return filters.Container{
		ID: c.ID, Name: c.Name, Image: c.Config.Image, ImageID: c.ImageID, Labels: c.Config.Labels,
		Created: c.Created, State: dockerState(c.State), ExitCode: c.ExitCode,
	}
}

func (e *Engine) summary(c store.Container) api.Summary {
	s := api.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Config.Image, ImageID: c.ImageID, Created: c.Created.Unix(),
		Command: strings.Join(slices.Concat(c.Config.Entrypoint, c.Config.Cmd), " "),
		Labels:  c.Config.Labels, State: dockerState(c.State), Status: e.status(c),
		NetworkSettings: &api.NetworkSettingsSummary{Networks: c.Networking.EndpointsConfig},
	}
	s.HostConfig.NetworkMode = string(c.HostConfig.NetworkMode)
	return s
}

// status returns the state for people.
func (e *Engine) status(c store.Container) string {
	ago := func(t time.Time) string { return units.HumanDuration(e.cfg.Store.Now().Sub(t)) }
	switch c.State {
	case store.Creating:
		return "Creating"
	case store.Running:
		return "Up " + ago(c.Started)
	case store.Exited:
		return fmt.Sprintf("Exited (%d) %s ago", c.ExitCode, ago(c.Finished))
	case store.Removing:
		return "Removal In Progress"
	case store.Dead:
		if left := c.RetryAt.Sub(e.cfg.Store.Now()); left > 0 {
			return "Dead, removal will be retried in " + units.HumanDuration(left)
		}
		return "Dead"
	default:
		return "Created"
	}
}

// randomHex returns n random bytes as hexadecimal digits.
func randomHex(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("create random id: %w", err)
	}
	return hex.EncodeToString(b), nil
}
