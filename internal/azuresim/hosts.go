package azuresim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
	"github.com/sockerless/backend-azf/internal/azuresim/worker"
)

const appDomain = ".azurewebsites.net"

type siteKeys = funchost.Keys

// listHostKeys fails until the Functions host runs, as Azure passes the call on to it.
func (s *Sim) listHostKeys(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	if r.site.host == nil || !r.site.host.Ready() || s.starves(r) {
		return nil, refusal(http.StatusBadRequest, "BadRequest",
			"Encountered an error (InternalServerError) from host runtime.")
	}
	keys := s.keysOf(r)
	return map[string]any{
		"masterKey": keys.Master, "functionKeys": map[string]string{"default": keys.Default},
		"systemKeys": map[string]string{},
	}, nil
}

// keysOf returns the keys that the storage account holds for a site name. It creates them the first time.
func (s *Sim) keysOf(r *resource) siteKeys {
	id := strings.ToLower(r.name)
	keys, ok := s.state.keys[id]
	if !ok {
		keys = siteKeys{Master: rand.Text() + rand.Text(), Default: rand.Text() + rand.Text()}
		s.state.keys[id] = keys
	}
	return keys
}

// syncHost makes a site's host run the site's image with its settings, and restarts it once if they changed. The caller
// holds Sim.mu.
func (s *Sim) syncHost(r *resource) {
	s.observe(r)
	image, problem := s.imageToRun(r)
	wanted, err := json.Marshal([]any{
		image, problem, s.resolved(r), r.body["identity"], r.site.config["acrUseManagedIdentityCreds"],
		r.site.config["acrUserManagedIdentityID"],
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	if r.site.runs == string(wanted) {
		return
	}
	r.site.runs = string(wanted)
	s.stopHost(r.site)
	if problem != "" || s.closed {
		s.log.Warn().Str("app", r.name).Str("reason", problem).Msg("function host does not start")
		return
	}
	parent := filepath.Join(s.cfg.Dir, "hosts")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		s.log.Error().Err(err).Str("app", r.name).Msg("create folder of function host")
		return
	}
	if r.site.hostDir, err = os.MkdirTemp(parent, strings.ToLower(r.name)+"-"); err != nil {
		s.log.Error().Err(err).Str("app", r.name).Msg("create folder of function host")
		return
	}
	faults := s.faults.current()
	r.site.host = worker.Start(worker.Config{
		Name: r.name, Image: image, Settings: s.resolved(r), Platform: platform(r), Keys: s.keysOf(r), Dir: r.site.hostDir,
		Shared: s.cfg.Shared,
		Pull:   s.puller(r, image), ColdStart: faults.ColdStart, ResponseCut: faults.ResponseCut, Now: s.cfg.Now,
		Telemetry: telemetry{s, r.site.settings["APPLICATIONINSIGHTS_CONNECTION_STRING"]},
		Log:       s.log.With().Str("app", r.name).Logger(),
	})
}

// imageToRun returns the site's image, or the reason why its host can never come up although App Service accepted the
// site.
func (s *Sim) imageToRun(r *resource) (image, problem string) {
	image, isImage := strings.CutPrefix(text(r.site.config["linuxFxVersion"]), "DOCKER|")
	servicePlan := s.servicePlanOf(r)
	switch {
	case !truth(object(r.body["properties"])["enabled"]):
		return "", "the site is disabled"
	case !isImage:
		return "", "the site has no image"
	case servicePlan == nil:
		return "", "the site has no service plan"
	case !servicePlan.sku().images:
		return "", "images do not run on service plans of tier " + servicePlan.sku().tier
	case !s.fits(r, servicePlan):
		return "", "the service plan has no memory left for it"
	case !s.storageUsable(r):
		return "", "the host cannot use its storage account: " +
			"AzureWebJobsStorage is neither its connection string nor granted by identity"
	}
	return image, ""
}

// storageUsable reports whether the Functions host reaches AzureWebJobsStorage, without which it does not start.
func (s *Sim) storageUsable(r *resource) bool {
	if account, ok := r.site.settings["AzureWebJobsStorage__accountName"]; ok {
		for id := range object(object(r.body["identity"])["userAssignedIdentities"]) {
			if _, exists := s.state.resources[strings.ToLower(id)]; exists {
				return s.hasStorage(account)
			}
		}
		return false
	}
	fields := make(map[string]string)
	for field := range strings.SplitSeq(r.site.settings["AzureWebJobsStorage"], ";") {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	keys := storageKeys()
	return s.hasStorage(fields["AccountName"]) && slices.Contains(keys[:], fields["AccountKey"])
}

// hasStorage reports whether a storage account exists, in any resource group: names are global.
func (s *Sim) hasStorage(account string) bool {
	for _, r := range s.state.resources {
		if r.kind == typeStorage && r.name == account {
			return true
		}
	}
	return false
}

// stopHost stops a site's host, if it has one, without waiting; Close waits. The caller holds Sim.mu.
func (s *Sim) stopHost(a *site) {
	host, dir := a.host, a.hostDir
	if host == nil {
		return
	}
	a.host, a.hostDir = nil, ""
	s.work.Go(func() {
		if err := host.Close(); err != nil {
			s.log.Error().Err(err).Msg("stop function host")
		}
		if err := os.RemoveAll(dir); err != nil {
			s.log.Error().Err(err).Msg("remove folder of function host")
		}
	})
}

// puller returns how a host fetches its image. Only the simulator's own registries exist; any other is unreachable. The
// caller holds Sim.mu.
func (s *Sim) puller(r *resource, ref string) func(context.Context, string) (v1.Image, error) {
	fail := func(err error) func(context.Context, string) (v1.Image, error) {
		return func(context.Context, string) (v1.Image, error) { return nil, fmt.Errorf("pull image %s: %w", ref, err) }
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return fail(err)
	}
	registry := parsed.Context().RegistryStr()
	if registry != s.Registry() && !isPrivateRegistry(registry) {
		refused := fmt.Errorf("%s: %w", registry, syscall.ECONNREFUSED)
		return fail(&net.OpError{Op: "dial", Net: "tcp", Err: refused})
	}
	auth := s.pullCredential(r, registry)
	return func(ctx context.Context, _ string) (v1.Image, error) {
		image, err := remote.Image(parsed, remote.WithContext(ctx), remote.WithTransport(s.pulls), remote.WithAuth(auth))
		if err != nil {
			return nil, fmt.Errorf("pull image %s: %w", ref, err)
		}
		return image, nil
	}
}
