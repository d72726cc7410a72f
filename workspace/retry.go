package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/workspace/provider"
)

// task is one operation in a workspace, or a read of its state.
type task struct {
	dir string
	// do must bear being repeated.
	do func(ctx context.Context, s *session) error
	// dead reports whether the holder of a lock is dead. When nil, no lock is removed.
	dead DeadHolder
	// applies are the resources that do creates, when it applies.
	applies []importable
}

// reasons are the ones in the package comment, in the order in which an error is compared with them. cure prepares the
// retry. It returns false when the error has another reason, and an error, in place of the operation's, when the reason
// cannot be cured.
var reasons = []struct {
	name string
	cure func(m *Manager, ctx context.Context, t task, s *session, failure error) (bool, error)
}{
	{"provider", (*Manager).leavePool},
	{"init", (*Manager).demandInit},
	{"lock", (*Manager).removeDeadLock},
	{"leftover", (*Manager).findLeftovers},
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
		"does not support data source", "no schema available for", "missing resource schema", "no schema available while")
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
	if !ok || t.dead == nil {
		return false, nil
	}
	dead, err := t.dead(ctx, lock)
	if err != nil {
		return false, fmt.Errorf("%w: %w", err, failure)
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
	found, err := m.leftovers(ctx, s, t.applies)
	if err != nil {
		return false, nil
	}
	return slices.ContainsFunc(found, func(r importable) bool { return !slices.Contains(s.importing, r.Address) }), nil
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
	s.lease, s.correlation = lease, lease.CorrelationID()
	return nil
}
