package workspace

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/sockerless/backend-azf/workspace/provider"
)

// task is one operation in a workspace, or a read of its state.
type task struct {
	dir string
	// name is that of the resource in Azure, "" for the foundation, which has several.
	name string
	// do must bear being repeated.
	do func(ctx context.Context, s *session) error
	// dead reports whether the holder of a lock is dead. When nil, no lock is removed.
	dead DeadHolder
	// applies are the resources that do creates, when it applies.
	applies []importable
	// removes are the resources that do deletes, when it destroys.
	removes []importable
}

// reasons are the ones in the package comment, in the order in which an error is compared with them. cure prepares the
// retry. It returns false when the error has another reason, and an error, in place of the operation's, when the reason
// cannot be cured.
var reasons = []struct {
	name string
	cure func(m *Manager, ctx context.Context, t task, s *session, failure error) (bool, error)
}{
	{"provider", (*Manager).leavePool},
	{"killed", (*Manager).clearUp},
	{"init", (*Manager).demandInit},
	{"lock", (*Manager).removeDeadLock},
	{"leftover", (*Manager).findLeftovers},
	{"unreadable", (*Manager).readNothing},
	{"gone", (*Manager).forgetGone},
}

// retry runs a task, and again for each reason that it fails for, at most once for each.
func (m *Manager) retry(ctx context.Context, t task) error {
	s := m.newSession(t.dir)
	defer s.end()
	retried := map[string]bool{}
	for {
		failure := m.attempt(ctx, t, s)
		if failure == nil || ctx.Err() != nil {
			return failure
		}
		reason, err := m.cure(ctx, t, s, failure, retried)
		if err != nil {
			return err
		}
		if reason == "" {
			return failure
		}
		retried[reason] = true
		m.cfg.Log.Warn().Err(failure).Str("workspace", t.dir).Str("correlation_id", s.correlation).Str("reason", reason).
			Msg("the Terraform operation failed for a known reason: retrying it now")
	}
}

func (m *Manager) attempt(ctx context.Context, t task, s *session) error {
	if err := m.lease(ctx, s); err != nil {
		return err
	}
	s.attempted = m.cfg.Now()
	return t.do(ctx, s)
}

// cure returns the first reason of a failure that the task has not been retried for, after curing it; "" when there is
// none.
func (m *Manager) cure(
	ctx context.Context, t task, s *session, failure error, retried map[string]bool,
) (string, error) {
	for _, reason := range reasons {
		if retried[reason.name] {
			continue
		}
		if cured, err := reason.cure(m, ctx, t, s, failure); cured || err != nil {
			return reason.name, err
		}
	}
	return "", nil
}

// leavePool gives a leased provider up that could not be had or that cannot be trusted.
func (m *Manager) leavePool(_ context.Context, _ task, s *session, failure error) (bool, error) {
	if s.unpooled {
		return false, nil
	}
	_, refused := errors.AsType[*leaseError](failure)
	if !refused && (s.lease == nil || s.lease.Broken() == nil) && !schemaMismatch(failure) {
		return false, nil
	}
	if s.lease != nil {
		failure = errors.Join(s.lease.Broken(), failure)
	}
	s.leavePool()
	m.warnUnpooled(s, failure)
	return true, nil
}

// schemaMismatch reports whether a command failed because the part of the schema lacks a type of the configuration or
// the state.
func schemaMismatch(err error) bool {
	return outputContains(err, "Invalid resource type", "Invalid data source", "does not support resource type",
		"does not support data source", "no schema available", "missing resource schema", "missing schema for")
}

// clearUp makes the workspace fit for another attempt after the kernel, or a person, killed terraform or its provider.
func (m *Manager) clearUp(_ context.Context, t task, s *session, failure error) (bool, error) {
	if !wasKilled(failure) {
		return false, nil
	}
	s.killedFrom, s.killedUntil = s.attempted, m.cfg.Now()
	if s.lease != nil {
		s.lease.Release() // it may hold a call of the dead terraform
		s.lease, s.tf = nil, nil
	} else if err := m.endProcesses(correlationEnv, s.correlation); err != nil {
		return false, errors.Join(failure, err) // a provider that goes on would change Azure beside the next attempt
	}
	if err := m.repair(t.dir, t.name); err != nil {
		return false, errors.Join(failure, err)
	}
	return true, nil
}

// wasKilled reports whether a signal ended terraform, or its provider by terraform's messages.
func wasKilled(err error) bool {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return true
		}
	}
	return outputContains(err, "Plugin did not respond", "Request cancelled: The plugin",
		"Unrecognized remote plugin message", "The plugin process terminated unexpectedly",
		"The plugin encountered an error, and failed to respond", "plugin exited before we could connect",
		"error reading from server: EOF", "transport is closing")
}

// demandInit has the next attempt run terraform init, which this attempt did without.
func (m *Manager) demandInit(_ context.Context, _ task, s *session, failure error) (bool, error) {
	if s.initialised || !wantsInit(failure) {
		return false, nil
	}
	s.needs.init, s.ready = true, false
	return true, forgetInit(s.dir)
}

// wantsInit reports whether a command failed for want of terraform init, by the messages of terraform and tofu.
func wantsInit(err error) bool {
	return outputContains(err, "Inconsistent dependency lock file", "Required plugins are not installed",
		"Backend initialization required", "Module not installed", "Missing required provider", "Initialization required")
}

// removeDeadLock removes the lock that is in the way, when its holder is dead.
func (m *Manager) removeDeadLock(ctx context.Context, t task, s *session, failure error) (bool, error) {
	lock, ok := LockOf(failure)
	if !ok {
		return false, nil
	}
	// An earlier attempt's terraform, which was killed, took it.
	dead := lock.Who == Who() && !lock.Created.Before(s.killedFrom) && lock.Created.Before(s.killedUntil)
	if !dead && t.dead != nil {
		var err error
		if dead, err = t.dead(ctx, lock); err != nil {
			return false, fmt.Errorf("%w: %w", err, failure)
		}
	}
	if !dead {
		return false, nil
	}
	if err := m.unlock(ctx, s, lock); err != nil {
		return false, errors.Join(failure, err)
	}
	return true, nil
}

// findLeftovers reports whether a failed apply left a resource behind that the attempt did not import itself. The next
// attempt does. An error of the search does not hide the operation's.
func (m *Manager) findLeftovers(ctx context.Context, t task, s *session, failure error) (bool, error) {
	if failed, ok := errors.AsType[*TerraformError](failure); !ok || failed.Step != stepApply || len(t.applies) == 0 {
		return false, nil
	}
	found, err := m.leftovers(ctx, s, t.name, t.applies)
	if err != nil {
		return false, nil
	}
	return slices.ContainsFunc(found, func(r importable) bool { return !slices.Contains(s.importing, r.Address) }), nil
}

// readNothing has the next attempt destroy from the state alone, when this one could not make its plan: what the
// provider reads may be gone or forbidden, and it needs nothing of it to delete.
func (m *Manager) readNothing(_ context.Context, t task, s *session, failure error) (bool, error) {
	failed, ok := errors.AsType[*TerraformError](failure)
	if !ok || failed.Step != stepPlan || len(t.removes) == 0 || s.stateOnly {
		return false, nil
	}
	s.stateOnly = true
	return true, nil
}

// forgetGone takes what Azure does not hold any more out of the state, when a destroy failed to delete it. An error of
// the search does not hide the operation's.
func (m *Manager) forgetGone(ctx context.Context, t task, s *session, failure error) (bool, error) {
	if failed, ok := errors.AsType[*TerraformError](failure); !ok || failed.Step != stepApply {
		return false, nil
	}
	forgot := false
	for _, r := range t.removes {
		if _, there, err := m.cfg.Find(ctx, r.id); err != nil || there {
			continue
		}
		s.leavePool() // the command cannot be told of a started provider
		err := m.command(ctx, s, "state rm", func(tf *tfexec.Terraform) error {
			return tf.StateRm(ctx, r.Address, m.lockTimeout())
		})
		if err != nil {
			return false, errors.Join(failure, err)
		}
		forgot = true
	}
	return forgot, nil
}

// outputContains reports whether a command failed with one of these messages.
func outputContains(err error, messages ...string) bool {
	failed, ok := errors.AsType[*TerraformError](err)
	if !ok {
		return false
	}
	output := failed.output()
	return slices.ContainsFunc(messages, func(message string) bool { return strings.Contains(output, message) })
}

// leaseError is the failure to lease a provider.
type leaseError struct{ err error }

func (e *leaseError) Error() string { return e.err.Error() }
func (e *leaseError) Unwrap() error { return e.err }

// widen adds the types of a remote state to those that the session's provider must know.
func (m *Manager) widen(ctx context.Context, s *session, pulled *state) error {
	missing := slices.DeleteFunc(pulled.types(), func(name string) bool { return slices.Contains(s.needs.types, name) })
	if len(missing) == 0 {
		return nil
	}
	s.needs.types = append(s.needs.types, missing...)
	slices.Sort(s.needs.types)
	s.needs.types = slices.Compact(s.needs.types)
	if s.lease == nil {
		return nil
	}
	s.lease.Release()
	s.lease, s.tf = nil, nil
	return m.lease(ctx, s)
}

// lease gives a session a provider of the pool, unless it has one or has left the pool. Its failure is a *leaseError.
func (m *Manager) lease(ctx context.Context, s *session) error {
	if s.unpooled || s.lease != nil {
		return nil
	}
	req := provider.Request{Types: s.needs.types}
	if m.eager != nil && !s.eager {
		req.Env = map[string]string{pollEagerly: "false"}
	}
	lease, err := m.cfg.Providers.Lease(ctx, req)
	if err != nil {
		return &leaseError{err}
	}
	s.lease, s.correlation, s.spent = lease, lease.CorrelationID(), false
	return nil
}
