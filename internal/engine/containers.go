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
	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

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
	if !namePattern.MatchString(name) {
		return api.CreateResponse{}, api.Errorf(api.InvalidParameter, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	c := store.Container{ID: id, Name: name, FunctionApp: "skls-" + id[:20]}
	if req.Config != nil {
		c.Config = *req.Config
	}
	if req.HostConfig != nil {
		c.HostConfig = *req.HostConfig
	}
	if req.NetworkingConfig != nil {
		c.Networking = *req.NetworkingConfig
	}
	warnings, err := e.validate(c)
	if err != nil {
		return api.CreateResponse{}, err
	}
	outcome, done := e.outcomes.expect(id)
	defer done()
	if err := e.cfg.Store.CreateContainer(ctx, c, e.enqueue(provisionArgs{ContainerID: id})); err != nil {
		return api.CreateResponse{}, err
	}
	if err := e.await(ctx, outcome); err != nil {
		return api.CreateResponse{}, err
	}
	return api.CreateResponse{ID: id, Warnings: warnings}, nil
}

// await waits for a job's outcome, the client's departure or the daemon's stop.
func (e *Engine) await(ctx context.Context, outcome <-chan error) error {
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.river.Stopped():
		// The job may have settled the outcome as its last act.
		select {
		case err := <-outcome:
			return err
		default:
			return api.Errorf(api.Unavailable, "the daemon is stopping; what was asked for is done when it is started again")
		}
	}
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
	out.Driver, out.Platform = "azf", "linux"
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

// dockerState is the state in Docker's words, which has none for a container that is being created.
func dockerState(s store.State) api.ContainerState {
	if s == store.Creating {
		return api.ContainerState(store.Created)
	}
	return api.ContainerState(s)
}

// dockerTime is Docker's form of a time; one that has not come is its zero time.
func dockerTime(t time.Time) string { return t.Format(time.RFC3339Nano) }

// ContainerList implements api.Backend.
func (e *Engine) ContainerList(ctx context.Context, opts api.ListOptions) ([]api.Summary, error) {
	var states []store.State
	if !opts.All && opts.Limit == 0 {
		states = []store.State{store.Running}
	}
	list, err := e.cfg.Store.Containers(ctx, opts.Limit, states...)
	if err != nil {
		return nil, err
	}
	out := make([]api.Summary, len(list))
	for i, c := range list {
		out[i] = api.Summary{
			ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Config.Image, Created: c.Created.Unix(),
			Command: strings.Join(slices.Concat(c.Config.Entrypoint, c.Config.Cmd), " "),
			Labels:  c.Config.Labels, State: dockerState(c.State), Status: e.status(c),
			NetworkSettings: &api.NetworkSettingsSummary{Networks: c.Networking.EndpointsConfig},
		}
		out[i].HostConfig.NetworkMode = string(c.HostConfig.NetworkMode)
	}
	return out, nil
}

// status is the state as people read it.
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
		return "Dead"
	default:
		return "Created"
	}
}

// ContainerStart implements api.Backend.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	trace, err := randomHex(16)
	if err != nil {
		return err
	}
	span, err := randomHex(8)
	if err != nil {
		return err
	}
	run := store.Run{ID: uuid.NewString(), ContainerID: c.ID, TraceID: trace, SpanID: span}
	if err := e.cfg.Store.Start(ctx, run, e.enqueue(invokeArgs{RunID: run.ID})); err != nil {
		return err
	}
	e.changes.notify(c.ID)
	return nil
}

// traceparent is the run's W3C trace context: version 00, sampled.
func traceparent(run store.Run) string { return "00-" + run.TraceID + "-" + run.SpanID + "-01" }

// ContainerWait implements api.Backend.
func (e *Engine) ContainerWait(ctx context.Context, ref string, cond api.WaitCondition, accepted func()) (api.WaitResponse, error) {
	switch cond {
	case "", api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved:
	default:
		return api.WaitResponse{}, api.Errorf(api.InvalidParameter, "invalid condition: %q: use not-running, next-exit or removed", cond)
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return api.WaitResponse{}, err
	}
	accepted()
	first := c
	for {
		changed := e.changes.watch(c.ID)
		now, err := e.cfg.Store.Container(ctx, c.ID)
		gone := api.KindOf(err) == api.NotFound
		if err != nil && !gone {
			return api.WaitResponse{}, err
		}
		if gone || satisfied(cond, first, now) {
			if !gone {
				c = now
			}
			return waitResponse(c), nil
		}
		c = now
		select {
		case <-changed:
		case <-ctx.Done():
			return api.WaitResponse{}, context.Cause(ctx)
		case <-e.stopping:
			return api.WaitResponse{}, api.Errorf(api.Unavailable, "the daemon is stopping; wait again when it is started again")
		}
	}
}

// satisfied tells whether a container that was first when the wait began, and is now, fulfils the condition.
func satisfied(cond api.WaitCondition, first, now store.Container) bool {
	switch cond {
	case api.WaitRemoved:
		return false // until it is gone
	case api.WaitNextExit:
		return now.State != store.Running && now.Finished.After(first.Finished)
	default:
		return now.State != store.Running
	}
}

func waitResponse(c store.Container) api.WaitResponse {
	out := api.WaitResponse{StatusCode: int64(c.ExitCode)}
	if c.Error != "" {
		out.Error = &api.WaitError{Message: c.Error}
	}
	return out
}

// logMargin widens the window in which Log Analytics is asked: its times are the host's, and lines are stamped as they are flushed.
const logMargin = 5 * time.Minute

// ContainerLogs implements api.Backend. A run's own answer is the first source; Log Analytics is asked when that is missing or incomplete.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opts api.LogOptions) ([]api.LogLine, bool, error) {
	if !opts.Stdout && !opts.Stderr {
		return nil, false, api.Errorf(api.InvalidParameter, "Bad parameters: you must choose at least one stream")
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return nil, false, err
	}
	run, ok, err := e.cfg.Store.LastRun(ctx, c.ID)
	if err != nil || !ok {
		return nil, c.Config.Tty, err
	}
	lines := run.Output
	if lines == nil || run.Truncated {
		archived, err := e.archivedLines(ctx, c, run)
		if err != nil {
			return nil, false, api.Errorf(api.Unavailable, "cannot read logs from Log Analytics: %w", err)
		}
		// Rows arrive late: fewer lines than the answer brought are not the better source.
		if len(archived) > len(lines) {
			lines = archived
		}
	}
	return selectLines(lines, opts), c.Config.Tty, nil
}

func (e *Engine) archivedLines(ctx context.Context, c store.Container, run store.Run) ([]api.LogLine, error) {
	shared, err := e.foundation(ctx)
	if err != nil {
		return nil, err
	}
	until := e.cfg.Store.Now()
	if !run.Finished.IsZero() {
		until = run.Finished
	}
	found, err := e.cfg.Logs.Lines(ctx, logs.Query{
		WorkspaceID: shared.LogAnalyticsID, App: c.FunctionApp, RunID: run.ID,
		From: run.Started.Add(-logMargin), To: until.Add(logMargin),
	})
	if err != nil {
		return nil, err
	}
	lines := make([]api.LogLine, len(found))
	for i, l := range found {
		lines[i] = api.LogLine{Time: l.Time, Stream: l.Stream, Text: l.Text}
	}
	return lines, nil
}

func selectLines(lines []api.LogLine, opts api.LogOptions) []api.LogLine {
	var out []api.LogLine
	for _, l := range lines {
		switch {
		case l.Stream == api.Stdout && !opts.Stdout, l.Stream == api.Stderr && !opts.Stderr:
		case !opts.Since.IsZero() && l.Time.Before(opts.Since), !opts.Until.IsZero() && l.Time.After(opts.Until):
		default:
			out = append(out, l)
		}
	}
	if opts.Tail >= 0 && len(out) > opts.Tail {
		out = out[len(out)-opts.Tail:]
	}
	return out
}

// ContainerRemove implements api.Backend.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, force bool) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	outcome, done := e.outcomes.expect(c.ID)
	defer done()
	if err := e.cfg.Store.Remove(ctx, c.ID, force, e.enqueue(destroyArgs{ContainerID: c.ID})); err != nil {
		return err
	}
	e.changes.notify(c.ID)
	return e.await(ctx, outcome)
}

func randomHex(bytes int) (string, error) {
	b := make([]byte, bytes)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make random id: %w", err)
	}
	return hex.EncodeToString(b), nil
}
