package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/filters"
	"github.com/sockerless/backend-azf/internal/gate"
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

// ContainerCreate implements api.Backend. When ctx ends before the function app exists, the creation goes on. What
// becomes of the container then is up to store.DB.Lose.
func (e *Engine) ContainerCreate(ctx context.Context, name string, req api.CreateRequest) (api.CreateResponse, error) {
	id, err := randomHex(32)
	if err != nil {
		return api.CreateResponse{}, err
	}
	c, err := e.requestedImage(ctx, requested(id, name, req))
	if err != nil {
		return api.CreateResponse{}, err
	}
	c.Origin, _ = api.OriginOf(ctx)
	warnings, err := e.validate(c)
	if err != nil {
		return api.CreateResponse{}, err
	}
	said, err := e.askPolicies(ctx, gate.Create, &c, "")
	if err != nil {
		return api.CreateResponse{}, err
	}
	if err := e.ensurePool(ctx); err != nil {
		return api.CreateResponse{}, err
	}
	if err := e.admit(ctx); err != nil {
		return api.CreateResponse{}, err
	}
	if id, err = e.create(ctx, c); err != nil {
		return api.CreateResponse{}, err
	}
	warnings = append(warnings, said...)
	// What policies have said of the plan. Without it, the container is there all the same.
	if c, err := e.cfg.Store.Container(ctx, id); err == nil {
		warnings = append(warnings, gate.Warnings(c.Policy)...)
	}
	return api.CreateResponse{ID: id, Warnings: warnings}, nil
}

// create creates a container, or joins the creation of one that its client has left. It returns the container's id.
func (e *Engine) create(ctx context.Context, c store.Container) (id string, err error) {
	begin := func(id string) { e.creating.Store(id, true) } // before the row says so, and until it does not
	id = c.ID
	defer func() { e.creating.Delete(id) }()
	begin(id)
	err = e.cfg.Store.CreateContainer(ctx, c)
	if api.KindOf(err) == api.Conflict {
		e.creating.Delete(id)
		earlier, joinErr := e.cfg.Store.Join(ctx, c, begin)
		if joinErr != nil {
			return "", joinErr
		}
		if earlier != "" {
			id, err = earlier, nil
		}
	}
	if err != nil {
		return "", err
	}
	err = e.await(ctx, id, store.Creating, 0)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = e.cfg.Store.Answered(ctx, id)
	}
	if err != nil {
		return "", errors.Join(err, e.cfg.Store.Lose(context.WithoutCancel(ctx), id, e.enqueueDestroy(id)))
	}
	return id, nil
}

// requestedImage completes a requested container with what is known of its image.
func (e *Engine) requestedImage(ctx context.Context, c store.Container) (store.Container, error) {
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	if err := checkRequest(c); err != nil || c.Config.Image == "" {
		return c, err
	}
	if _, err := checkFields(&c); err != nil {
		return c, err
	}
	img, err := e.cfg.Store.Image(ctx, c.Config.Image)
	switch {
	case err == nil && img.Resolved:
		c.ImageConfig = &img.Spec.Config
	case api.KindOf(err) == api.NotFound:
		named, err := api.ParseReference(c.Config.Image)
		if err != nil {
			return c, err
		}
		if img, err = e.lookUpImage(ctx, named); err != nil {
			return c, err
		}
		if img.Resolved {
			c.ImageConfig = &img.Spec.Config
		}
	}
	if c.ImageConfig != nil {
		if needed, err := e.needsWrap(c.Config.Image, img); err != nil {
			return c, e.refused(ctx, "create container "+c.Name, c, err)
		} else if needed {
			c.Derived = &api.Derived{}
		}
	}
	version, err := handlerProtocol(c)
	if err != nil {
		return c, err
	}
	c.HasHandler = version != ""
	// Azure does not know an image's id, nor a name that only this daemon has given it.
	c.Config.Image, err = e.cfg.Store.PullReference(ctx, c.Config.Image)
	return c, err
}

// requested returns the container that a create request describes.
func requested(id, name string, req api.CreateRequest) store.Container {
	c := store.Container{ID: id, Name: strings.TrimPrefix(name, "/"), FunctionApp: appName(id)}
	if c.Name == "" {
		c.Name, c.Unnamed = "azf-"+id[:shortID], true
	}
	if req.Config != nil {
		c.Config = *req.Config
	}
	if req.HostConfig != nil {
		c.HostConfig = *req.HostConfig
	}
	if req.NetworkingConfig != nil {
		c.Networking = *req.NetworkingConfig
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
	config, hostConfig := merged(c), withDefaults(c.HostConfig)
	var out api.InspectResponse
	out.ID = c.ID
	out.Name = "/" + c.Name
	out.Created = c.Created.Format(time.RFC3339Nano)
	out.Path, out.Args = pathAndArgs(config)
	out.Image, out.Driver, out.Platform = c.ImageID, "azf", "linux"
	out.Config, out.HostConfig = &config, &hostConfig
	out.Mounts = []api.MountPoint{}
	out.NetworkSettings = &api.NetworkSettings{Ports: api.PortMap{}, Networks: networks(c)}
	for _, port := range exposedPorts(c, config) {
		out.NetworkSettings.Ports[port] = nil // exposed, and not published
	}
	out.State = &api.State{
		Status: dockerState(c.State), Running: c.State == store.Running, Dead: c.State == store.Dead,
		ExitCode: c.ExitCode, Error: c.Error, StartedAt: dockerTime(c.Started), FinishedAt: dockerTime(c.Finished),
	}
	plan, err := e.cfg.Store.ServicePlan(ctx, c.ServicePlan)
	if err != nil && api.KindOf(err) != api.NotFound {
		return api.InspectResponse{}, err
	}
	place, err := e.cfg.Store.Queued(ctx, c)
	if err != nil {
		return api.InspectResponse{}, err
	}
	out.AZF = api.AzureDetails{
		ServicePlan: plan.Name, QueuePlace: place,
		FunctionApp: c.FunctionApp, ResourceID: c.ResourceID, HostName: c.HostName,
		Workspace: e.cfg.Workspaces.Path(c.ID), Plan: c.PlanSummary, RunID: run.ID, TraceID: run.TraceID,
		CreatedBy: known(c.Origin), StartedBy: known(run.Origin), Policy: c.Policy, Derived: c.Derived,
	}
	return out, nil
}

// known returns an origin, nil for one that nobody has recorded.
func known(o api.Origin) *api.Origin {
	if o.Requester.Kind == "" {
		return nil
	}
	return &o
}

// pathAndArgs returns the command of a configuration in the form of an inspect. The arguments are never nil.
func pathAndArgs(config api.Config) (path string, args []string) {
	command := slices.Concat(config.Entrypoint, config.Cmd)
	if len(command) == 0 {
		return "", []string{}
	}
	return command[0], command[1:]
}

// commandLine returns the command of a configuration for a list. Like Docker, it quotes arguments with spaces.
func commandLine(config api.Config) string {
	path, args := pathAndArgs(config)
	words := []string{path}
	for _, arg := range args {
		if strings.Contains(arg, " ") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
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
	match, err := filters.Containers(opts.Filters, filters.Lookup{
		Created: e.containerCreated(ctx),
		ImageID: e.imageID(ctx),
	})
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
	names, err := e.cfg.Store.ImageNames(ctx)
	if err != nil {
		return nil, err
	}
	out := []api.Summary{}
	for _, c := range list {
		config := merged(c)
		if !match(filtered(c, config)) {
			continue
		}
		out = append(out, e.summary(c, config, names))
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

// imageID returns the function with which filters find the id of an image. It is "" for an unknown one.
func (e *Engine) imageID(ctx context.Context) func(ref string) (string, error) {
	return func(ref string) (string, error) {
		img, err := e.cfg.Store.Image(ctx, ref)
		if kind := api.KindOf(err); kind == api.NotFound || kind == api.InvalidParameter {
			return "", nil
		}
		return img.ID, err
	}
}

// filtered returns what filters look at of a container with that configuration.
func filtered(c store.Container, config api.Config) filters.Container {
	f := filters.Container{
		ID: c.ID, Name: c.Name, Image: config.Image, ImageID: c.ImageID, Labels: config.Labels,
		Created: c.Created, State: dockerState(c.State), ExitCode: c.ExitCode, Ended: !c.Finished.IsZero(),
	}
	for name := range networks(c) {
		f.Networks = append(f.Networks, name)
	}
	for _, port := range exposedPorts(c, config) {
		f.Exposed = append(f.Exposed, port.String())
	}
	return f
}

// summary returns the entry of a list for a container with that configuration. names are the ids of images by name.
func (e *Engine) summary(c store.Container, config api.Config, names map[string]string) api.Summary {
	s := api.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: config.Image, ImageID: c.ImageID, Created: c.Created.Unix(),
		Command: commandLine(config), Labels: config.Labels, State: dockerState(c.State), Status: e.status(c),
		Ports: []api.PortSummary{}, Mounts: []api.MountPoint{}, Health: &api.HealthSummary{Status: api.NoHealthcheck},
		NetworkSettings: &api.NetworkSettingsSummary{Networks: networks(c)},
	}
	// When another image has the name by now, Docker shows the id of the one that the container was created from.
	if ref, err := api.ParseReference(config.Image); err == nil && c.ImageID != "" && names[ref.String()] != c.ImageID {
		s.Image = c.ImageID
	}
	for _, port := range exposedPorts(c, config) {
		s.Ports = append(s.Ports, api.PortSummary{PrivatePort: port.Num(), Type: string(port.Proto())})
	}
	s.HostConfig.NetworkMode = string(withDefaults(c.HostConfig).NetworkMode)
	s.HostConfig.Annotations = c.HostConfig.Annotations
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
