package engine

import (
	"fmt"
	"path"
	"strings"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// appPrefix begins the names of function apps.
const appPrefix = "skls-"

// appName returns the name of a container's function app. The Functions host looks at 32 characters of it at most.
func appName(id string) string { return appPrefix + id[:20] }

// validate checks a container as far as that is possible without Azure. It returns warnings for the client.
func (e *Engine) validate(c store.Container) ([]string, error) {
	warnings := []string{}
	sku := e.cfg.Settings.sku()
	if e.cfg.Settings.AppServicePlan == "" && !runsImages(sku) {
		warnings = append(warnings, noImagesWarning(sku))
	}
	if err := checkRequest(c); err != nil {
		return nil, err
	}
	if lacksHost(c) {
		warnings = append(warnings, noHost(c.Config.Image))
	}
	if home := imageHome(c); c.Derived == nil && home != "" && path.Clean(home) != hostHome {
		warnings = append(warnings, fmt.Sprintf("image %s sets HOME=%s: on App Service, the Functions host looks for "+
			"functions in HOME/site/wwwroot; leave HOME at %s", c.Config.Image, home, hostHome))
	}
	unhonoured, err := checkFields(&c)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, unhonoured...)
	if c.Derived != nil {
		c.Derived = &api.Derived{Reference: e.cfg.Settings.Registry + "/wrapped"} // it will be in this registry
	}
	_, more, err := e.cfg.Settings.functionAppSpec(c, store.ServicePlan{}, workspace.FoundationOutputs{})
	return append(warnings, more...), err
}

// functionAppSpec returns the spec of a container's workspace, and warnings for what Azure cannot honour.
func (s Settings) functionAppSpec(
	c store.Container, plan store.ServicePlan, shared workspace.FoundationOutputs,
) (workspace.FunctionApp, []string, error) {
	storage, err := s.existing("storage_account", s.StorageAccount)
	if err != nil {
		return workspace.FunctionApp{}, nil, err
	}
	spec := workspace.FunctionApp{
		Name: c.FunctionApp, ResourceGroupName: s.ResourceGroup, Location: s.Location,
		ServicePlanID: plan.ResourceID, AlwaysOn: alwaysOn(plan.SKU),
		StorageAccountName: storage.Name, StorageAccountResourceGroupName: storage.ResourceGroupName,
		Identity: s.Identity, ApplicationInsightsConnectionString: shared.InsightsConnection,
		Command:    command(c),
		WorkingDir: c.Config.WorkingDir, User: merged(c).User, HandlerReadsSpec: readsSpec(c),
		KeyVaultReferences: s.KeyVaultReferences,
		FunctionTimeout:    s.functionTimeout(plan.SKU),
		DerivedImage:       derivedRecord(c),
	}
	if err := s.image(&spec, imageReference(c)); err != nil {
		return spec, nil, err
	}
	settings, warnings, err := s.appSettings(c)
	if err != nil {
		return spec, nil, err
	}
	spec.Environment, spec.HandlerSettings = settings.Environment, settings.Handler
	spec.EnvironmentNames = settings.Names
	if digest := sourceDigest(c); digest != "" {
		spec.HandlerSettings[protocol.ImageDigestEnv] = digest
	}
	tags, more := s.tags(c)
	spec.Tags, warnings = tags, append(warnings, more...)
	host := strings.TrimPrefix(spec.RegistryURL, "https://")
	if s.needsAccess(host) && !spec.RegistryUsesIdentity && spec.RegistryUsername == nil {
		warnings = append(warnings, fmt.Sprintf("Azure pulls from %s anonymously, and the container does not start if the "+
			"registry refuses that: set identity_id to an identity with the role AcrPull, or registry, registry_username "+
			"and registry_password", host))
	}
	return spec, warnings, nil
}

// image fills in the image and the access to its registry.
func (s Settings) image(spec *workspace.FunctionApp, image string) error {
	if image == "" {
		return api.Errorf(api.InvalidParameter,
			"no image given: set Image to a reference such as registry.example.com/team/app:1.0")
	}
	named, err := api.ParseReference(image)
	if err != nil {
		return err
	}
	host := reference.Domain(named)
	spec.RegistryURL = "https://" + host
	if host == "docker.io" {
		spec.RegistryURL = "https://index.docker.io"
	}
	spec.ImageName = reference.Path(named)
	switch r := named.(type) {
	case reference.Digested:
		// The provider joins name and tag with a colon and has no field for a digest, so the algorithm goes with the name.
		spec.ImageName += "@" + r.Digest().Algorithm().String()
		spec.ImageTag = r.Digest().Encoded()
	case reference.Tagged:
		spec.ImageTag = r.Tag()
	}
	if s.RegistryUsername != "" && strings.EqualFold(host, s.Registry) {
		spec.RegistryUsername, spec.RegistryPassword = &s.RegistryUsername, &s.RegistryPassword
		return nil
	}
	spec.RegistryUsesIdentity = s.Identity != nil && s.needsAccess(host)
	return nil
}

// needsAccess reports whether the registry on a host is private as far as is known: the configured one is, and so are
// those of the cloud, as long as nobody has allowed anonymous pulls.
func (s Settings) needsAccess(host string) bool {
	return s.Registry != "" && strings.EqualFold(host, s.Registry) || registry.IsBelow(host, s.RegistrySuffix)
}
