package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// Actions that policies are asked about.
const (
	Create      = "create"
	Foundation  = "foundation"
	ServicePlan = "service-plan"
	Remove      = "remove"
	GC          = "gc"
	Start       = "start"
	Pull        = "pull"
)

// Actions returns all actions, for the setting on of a policy.
func Actions() []string { return []string{Create, Foundation, ServicePlan, Remove, GC, Start, Pull} }

// contextVersion is the version of the form of Context. Fields may be added without a new one.
const contextVersion = 1

// Context is what the input of policies has beside the plan: who asks for what. Its JSON is described in
// docs/policy-input.schema.json.
type Context struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Action  string    `json:"action"`
	// Stage is plan or request.
	Stage string `json:"stage"`
	// Cause is request, or what the daemon does on its own.
	Cause     string              `json:"cause"`
	Requester api.Requester       `json:"requester"`
	Request   *api.RequestDetails `json:"request,omitempty"`
	// Container is nil for the foundation, a service plan and a pull; Image is that of a pull.
	Container *Container `json:"container,omitempty"`
	Image     *Image     `json:"image,omitempty"`
	// Workspace is container, service-plan or foundation; "" without a plan.
	Workspace      string `json:"workspace,omitempty"`
	Owner          string `json:"owner"`
	SubscriptionID string `json:"subscription_id"`
	ResourceGroup  string `json:"resource_group"`
	Location       string `json:"location"`
	Counts         Counts `json:"counts"`
	// Tools is nil where they are not known.
	Tools    *audit.Tools        `json:"tools,omitempty"`
	Override *api.PolicyOverride `json:"override,omitempty"`
}

// Container is the container in a Context.
type Container struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Image Image  `json:"image"`
	// Command is what the request asks to execute: entrypoint and arguments.
	Command []string `json:"command"`
	// EnvNames are the names of its variables. No policy sees their values.
	EnvNames []string          `json:"env_names"`
	Labels   map[string]string `json:"labels"`
	User     string            `json:"user"`
	// HostConfig is Docker's, as it was sent.
	HostConfig api.HostConfig `json:"host_config"`
}

// Image names an image.
type Image struct {
	Reference string `json:"reference"`
	// Digest is that of the image in its registry, sha256:..., as the reference or the registry has said; "" if neither
	// did.
	Digest string `json:"digest"`
	// Derived is the image that Azure runs in place of this one, nil if it runs this one. Its fields are empty as long as
	// it is not there.
	Derived *api.Derived `json:"derived,omitempty"`
}

// Counts are the numbers of containers at the time of the question. A container counts once its create is recorded: not
// yet when the request is judged, and when its plan is.
type Counts struct {
	Containers      int `json:"containers"`
	CreatedLastHour int `json:"created_last_hour"`
	// ByRequester counts the containers that the same requester has asked for.
	ByRequester int `json:"by_requester"`
}

// containerOf returns what policies see of a container.
func containerOf(c store.Container) *Container {
	out := &Container{
		ID: c.ID, Name: c.Name, Image: Image{Reference: c.Config.Image, Derived: c.Derived},
		Command:  append(append([]string{}, c.Config.Entrypoint...), c.Config.Cmd...),
		EnvNames: []string{}, Labels: map[string]string{}, User: c.Config.User, HostConfig: c.HostConfig,
	}
	maps.Copy(out.Labels, c.Config.Labels)
	for _, entry := range c.Config.Env {
		name, _, _ := strings.Cut(entry, "=")
		out.EnvNames = append(out.EnvNames, name)
	}
	return out
}

// HideIn masks secrets in what a container's request has said, where they may stand. What decides how the container
// would run stays as it is.
func (c Context) HideIn(hide func(string) string) Context {
	if c.Override != nil {
		override := *c.Override
		override.Reason = hide(override.Reason)
		c.Override = &override
	}
	if c.Container == nil {
		return c
	}
	container := *c.Container
	container.Command = slices.Clone(container.Command)
	for i := range container.Command {
		container.Command[i] = hide(container.Command[i])
	}
	container.Labels = hideValues(container.Labels, hide)
	container.HostConfig.LogConfig.Config = hideValues(container.HostConfig.LogConfig.Config, hide)
	container.HostConfig.Annotations = hideValues(container.HostConfig.Annotations, hide)
	c.Container = &container
	return c
}

func hideValues(values map[string]string, hide func(string) string) map[string]string {
	values = maps.Clone(values)
	for name, value := range values {
		values[name] = hide(value)
	}
	return values
}

// hour is the time over which creates are counted.
const hour = time.Hour

// Describe returns the context of a question. c is nil where it is not about a container. Who asks comes from ctx. What
// the daemon does again, it does for who has asked for the create or the removal.
func (g *Gate) Describe(ctx context.Context, stage, action string, c *store.Container) (out Context, err error) {
	now := g.cfg.Store.Now().UTC()
	out = Context{
		Version: contextVersion, Time: now, Action: action, Stage: stage, Cause: causeRequest,
		Owner: g.cfg.Owner, SubscriptionID: g.cfg.SubscriptionID, ResourceGroup: g.cfg.ResourceGroup,
		Location: g.cfg.Location, Tools: g.cfg.Tools,
	}
	origin, _ := api.OriginOf(ctx)
	if origin.Requester.Kind == api.RequesterDaemon || origin.Requester.Kind == "" {
		out.Cause = origin.Requester.Cause
		if out.Cause == "" {
			out.Cause = "unknown"
		}
	}
	if c != nil {
		out.Container = containerOf(*c)
		if out.Container.Image.Digest, err = g.digest(ctx, *c); err != nil {
			return out, err
		}
		if origin, err = g.askedBy(ctx, action, *c, origin); err != nil {
			return out, err
		}
		if reason, asked := c.Config.Labels[api.OverrideLabel]; asked && action == Create {
			out.Override = &api.PolicyOverride{
				Reason: plain(reason), Allowed: slices.ContainsFunc(g.Sets(), maySkip(origin.Requester)),
			}
		}
	}
	out.Requester, out.Request = origin.Requester, origin.Request
	counts, err := g.cfg.Store.PolicyCounts(ctx, origin.Requester, now.Add(-hour))
	if err != nil {
		return out, fmt.Errorf("count containers for the policies: %w", err)
	}
	out.Counts = Counts(counts)
	return out, nil
}

const causeRequest = "request"

// askedBy returns who has asked for an action on a container: origin, unless the daemon does again what was asked for.
func (g *Gate) askedBy(ctx context.Context, action string, c store.Container, origin api.Origin) (api.Origin, error) {
	asked := c.Origin
	switch kind := origin.Requester.Kind; {
	case action == Create:
	case action == Remove && (kind == api.RequesterDaemon || kind == ""):
		var err error
		if asked, err = g.cfg.Store.RemovalAskedBy(ctx, c.ID); err != nil {
			return origin, err
		}
	default:
		return origin, nil
	}
	if asked.Requester.Kind == "" {
		return origin, nil
	}
	return asked, nil
}

// digest returns the digest of a container's image in its registry, "" if it is not known.
func (g *Gate) digest(ctx context.Context, c store.Container) (string, error) {
	if digest := api.DigestIn(c.Config.Image); digest != "" {
		return digest, nil
	}
	if c.Derived != nil && c.Derived.Source != "" {
		return api.DigestIn(c.Derived.Source), nil // the tag may have moved since the image was looked up
	}
	named, err := api.ParseReference(c.Config.Image)
	if err != nil {
		return "", nil // nobody can pull it
	}
	name := c.ImageID
	if name == "" {
		name = c.Config.Image
	}
	img, err := g.cfg.Store.Image(ctx, name)
	if api.KindOf(err) == api.NotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, name := range img.Names {
		if digest, ok := strings.CutPrefix(name, named.Name()+"@"); ok {
			return digest, nil
		}
	}
	return "", nil
}

// Input returns what policies are asked, as decoded JSON: a masked plan at the root, the same under plan, and the
// context under sockerless, both as JSON. plan may be nil.
func Input(plan, about []byte) (map[string]any, error) {
	input := map[string]any{}
	if plan != nil {
		if err := decode(plan, &input); err != nil {
			return nil, fmt.Errorf("read the plan: %w", err)
		}
		input["plan"] = maps.Clone(input)
	}
	var context any
	if err := decode(about, &context); err != nil {
		return nil, fmt.Errorf("read the context of the plan: %w", err)
	}
	input["sockerless"] = context
	return input, nil
}

func decode(content []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber() // a plan's numbers stay as they are
	return dec.Decode(into)
}
