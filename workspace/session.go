package workspace

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/sockerless/backend-azf/workspace/provider"
)

// pollEagerly is the variable that makes azurerm look after an operation in Azure at once and again at once, and not after 10 s.
const pollEagerly = "GO_AZURE_SDK_SKIP_POLLING_DELAY"

// azurermAddresses are what terraform and tofu call the provider.
var azurermAddresses = []string{"registry.terraform.io/hashicorp/azurerm", "registry.opentofu.org/hashicorp/azurerm"}

// session is what the commands of one run share.
type session struct {
	correlation string
	eager       bool
	lease       *provider.Lease // nil: each command starts a provider of its own
	needs       needs
	tf          *tfexec.Terraform // see Manager.terraform
}

// attach makes a command use the leased provider, if there is one.
func (s *session) attach() *tfexec.ReattachOption {
	if s.lease == nil {
		return tfexec.Reattach(nil)
	}
	info := tfexec.ReattachInfo{}
	for _, address := range azurermAddresses {
		info[address] = tfexec.ReattachConfig{
			Protocol: "grpc", ProtocolVersion: provider.ProtocolVersion, Pid: s.lease.PID(),
			Test: true, // else terraform would end the process
			Addr: tfexec.ReattachConfigAddr{Network: "unix", String: s.lease.Socket()},
		}
	}
	return tfexec.Reattach(info)
}

// attempt calls f with a session that holds a leased provider, and once more with terraform's own providers when the lease was not
// to be had or the failure is not Azure's or Terraform's word but the fault of lease, proxy or schema. f must bear being repeated.
func (m *Manager) attempt(ctx context.Context, dir string, f func(*session) error) error {
	s := &session{correlation: uuid.NewString()}
	if m.eager != nil {
		select {
		case m.eager <- struct{}{}:
			s.eager = true
			defer func() { <-m.eager }()
		default:
		}
	}
	var reason, err error
	if s.needs, reason = needsOf(dir); reason != nil {
		s.needs.init = true // whatever it is, terraform says it better
	}
	if m.cfg.Providers == nil {
		return f(s)
	}
	if reason == nil {
		if reason = m.leased(ctx, s, f, &err); reason == nil || ctx.Err() != nil {
			return err
		}
	}
	m.cfg.Log.Warn().Err(reason).Str("workspace", dir).Str("correlation_id", s.correlation).Int64("fallbacks", m.fallbacks.Add(1)).
		Msg("the started provider was not usable, so this run uses terraform's own")
	return f(s)
}

// leased calls f with a lease, puts f's error into failure, and returns why f should be repeated without a lease, or nil.
func (m *Manager) leased(ctx context.Context, s *session, f func(*session) error, failure *error) error {
	req := provider.Request{Types: s.needs.types}
	if m.eager != nil && !s.eager {
		req.Env = map[string]string{pollEagerly: "false"}
	}
	lease, err := m.cfg.Providers.Lease(ctx, req)
	if err != nil {
		*failure = err
		return err
	}
	defer lease.Release()
	s.lease, s.correlation = lease, lease.CorrelationID()
	defer func() { s.lease, s.tf = nil, nil }()
	if *failure = f(s); *failure == nil {
		return nil
	}
	if broken := lease.Broken(); broken != nil {
		return broken
	}
	if misfit(*failure) {
		return *failure
	}
	return nil
}

// misfit tells whether a run failed because the slice of the schema lacks what the configuration or the state has.
func misfit(err error) bool {
	return says(err, "Invalid resource type", "Invalid data source", "does not support resource type", "does not support data source",
		"no schema available for", "missing resource schema", "no schema available while")
}

// says tells whether a command failed with one of these texts.
func says(err error, texts ...string) bool {
	failed, ok := errors.AsType[*TerraformError](err)
	if !ok {
		return false
	}
	said := failed.said()
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(said, text) })
}
