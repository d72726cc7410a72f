package workspace

import (
	"context"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/workspace/provider"
)

// pollEagerly is the variable that makes azurerm poll an operation in Azure without its delay of 10 s.
const pollEagerly = "GO_AZURE_SDK_SKIP_POLLING_DELAY"

// correlationEnv is the variable with the id that azurerm sends with each call.
const correlationEnv = "ARM_CORRELATION_REQUEST_ID"

// azurermAddresses are the provider's addresses for terraform and for tofu.
var azurermAddresses = []string{"registry.terraform.io/hashicorp/azurerm", "registry.opentofu.org/hashicorp/azurerm"}

// session is what the commands of one task share, over all its attempts.
type session struct {
	dir         string
	correlation string
	// spent: an apply has used the correlation id.
	spent bool
	// folder is that of the operation under way, below dir.
	folder string
	eager  bool
	// unpooled: each command starts a provider of its own. Otherwise the commands use lease.
	unpooled bool
	lease    *provider.Lease
	needs    needs
	// ready: the workspace is ready for commands. initialised: terraform init ran for that.
	ready, initialised bool
	// attempted is the time at which the attempt under way began.
	attempted time.Time
	// killedFrom and killedUntil bound the attempt whose terraform was killed. They are zero when none was.
	killedFrom, killedUntil time.Time
	// secrets are masked in what the commands print.
	secrets *secrets
	// stateOnly: a destroy works from the state alone, because reading from Azure fails.
	stateOnly bool
	// review, when set, decides whether a plan with that digest of its changes may be applied.
	review func(plan *tfjson.Plan, change string) error
	// unlocked: the commands change nothing, and leave the state's lock to others.
	unlocked bool
	// derivedImage is kept in the folder of each operation, unless it is nil.
	derivedImage any
	// importing are the addresses that the operation under way imports.
	importing []string
	tf        *tfexec.Terraform // see Manager.terraform
	end       func()
}

// newSession begins a session in a workspace. The caller calls end.
func (m *Manager) newSession(dir string) *session {
	s := &session{
		dir: dir, correlation: uuid.NewString(), unpooled: m.cfg.Providers == nil, secrets: m.secretsOf(dir),
	}
	giveBack := func() {}
	if m.eager != nil {
		select {
		case m.eager <- struct{}{}:
			s.eager = true
			giveBack = func() { <-m.eager }
		default:
		}
	}
	s.end = func() {
		s.leavePool()
		giveBack()
	}
	var err error
	if s.needs, err = needsOf(dir); err != nil {
		s.needs.init = true // Terraform's own message about the configuration is the better one
		if !s.unpooled {
			s.unpooled = true
			m.warnUnpooled(s, err)
		}
	}
	return s
}

// leavePool releases the lease, if there is one, and makes the commands start providers of their own.
func (s *session) leavePool() {
	if s.lease != nil {
		s.lease.Release()
	}
	s.unpooled, s.lease, s.tf = true, nil, nil
	s.ready, s.initialised = false, false
}

func (m *Manager) warnUnpooled(s *session, reason error) {
	m.cfg.Log.Warn().Err(reason).Str("workspace", s.dir).Str("correlation_id", s.correlation).
		Int64("fallbacks", m.fallbacks.Add(1)).Msg("the started provider is not usable: Terraform starts its own")
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
			Test: true, // otherwise terraform would end the process
			Addr: tfexec.ReattachConfigAddr{Network: "unix", String: s.lease.Socket()},
		}
	}
	return tfexec.Reattach(info)
}

// renew gives a session another correlation id if an apply has used its own, so that the id names one apply in Azure.
func (m *Manager) renew(ctx context.Context, s *session) error {
	if !s.spent {
		return nil
	}
	s.spent, s.tf, s.correlation = false, nil, uuid.NewString()
	if s.lease != nil {
		s.lease.Release()
		s.lease = nil
	}
	return m.lease(ctx, s)
}

// command runs one command. Its failure is a *TerraformError.
func (m *Manager) command(ctx context.Context, s *session, step string, run func(*tfexec.Terraform) error) error {
	tf, err := m.readyTerraform(ctx, s)
	if err != nil {
		return err
	}
	if err := run(tf); err != nil {
		return &TerraformError{Step: step, Dir: s.dir, CorrelationID: s.correlation, Err: s.secrets.err(err)}
	}
	return nil
}

// readyTerraform returns the session's terraform in a workspace that is ready for commands.
func (m *Manager) readyTerraform(ctx context.Context, s *session) (*tfexec.Terraform, error) {
	if err := m.prepare(ctx, s); err != nil {
		return nil, err
	}
	return m.terraform(s)
}

// terraform returns the value that a session's commands share, one after another: it asks the binary for its version
// once. Its JSON variants change where output goes, so each command begins anew.
func (m *Manager) terraform(s *session) (*tfexec.Terraform, error) {
	if s.tf != nil {
		s.tf.SetStdout(io.Discard)
		return s.tf, nil
	}
	tf, err := tfexec.NewTerraform(s.dir, m.cfg.Terraform)
	if err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	env := maps.Clone(m.env)
	env[correlationEnv] = s.correlation
	if s.eager {
		env[pollEagerly] = "true"
	}
	if s.lease != nil {
		env["GOGC"] = "400" // a command ends before its garbage is worth a quarter of its time
	}
	if err := tf.SetEnv(env); err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	if err := tf.SetWaitDelay(m.cfg.InterruptWait); err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	s.tf = tf
	return tf, nil
}
