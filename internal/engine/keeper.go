package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/audit/sink"
)

// AuditConfig is how the engine keeps the audit trail.
type AuditConfig struct {
	// Start is the record of the daemon's start.
	Start audit.Record
	// EarlierPlan returns the digest of the plan that an earlier release has kept of a container, "" if there is none.
	EarlierPlan func(id string) string
	// Sign returns the signed text of a checkpoint; nil: there are no checkpoints. Each is kept in the file Path, beside
	// the log.
	Sign func(audit.Checkpoint) ([]byte, error)
	Path string
	// Anchor puts a signed checkpoint where this machine cannot change it; nil: nowhere.
	Anchor func(ctx context.Context, c audit.Checkpoint, signed []byte) error
	// Sinks are sent all records. The caller closes them after Close.
	Sinks []*sink.Sink
	// Keep and ArchiveKeep are the ages up to which records and archived workspaces are kept; 0 keeps them for ever.
	Keep, ArchiveKeep time.Duration
}

const (
	// checkpointInterval is the time between two checkpoints of a trail that grows.
	checkpointInterval = time.Minute
	// anchorInterval is the time between two that are anchored.
	anchorInterval = 5 * time.Minute
	// retentionInterval is the time between two removals of what is too old.
	retentionInterval = time.Hour
	// retentionStep bounds the archived workspaces that one record names.
	retentionStep = 500
)

// startTrail records the start, and ends the operations in which an earlier daemon of this state folder was killed.
func (e *Engine) startTrail(ctx context.Context) error {
	plan := e.cfg.Audit.EarlierPlan
	if plan == nil {
		plan = func(string) string { return "" }
	}
	ctx = api.ByDaemon(ctx, "start")
	if err := e.cfg.Store.StartTrail(ctx, e.cfg.Audit.Start, plan); err != nil {
		return fmt.Errorf("begin the audit trail: %w", err)
	}
	return e.cfg.Store.CloseOperations(ctx, nil, time.Time{})
}

// closeOperations records the end of the operations of daemons that are known to be dead.
func (e *Engine) closeOperations(ctx context.Context) error {
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return err
	}
	return e.cfg.Store.CloseOperations(ctx, live, e.cfg.Store.Now().Add(-deadAfter))
}

// keeper makes the checkpoints of the trail, and removes what is too old.
type keeper struct {
	e *Engine
	// last is the newest checkpoint, and signed its signed text.
	last   audit.Checkpoint
	signed []byte
	// anchored is the newest checkpoint that was anchored. The times are those of the last attempts.
	anchored               audit.Checkpoint
	anchoring, pruning     time.Time
	checkpointing, closing bool // whether the last attempt failed, so that a failure is logged once
}

// keepTrail works until ctx ends, and makes a last checkpoint then.
func (e *Engine) keepTrail(ctx context.Context) {
	ticker := e.cfg.Clock.NewTicker(checkpointInterval)
	defer ticker.Stop()
	k := keeper{e: e}
	ctx = api.ByDaemon(ctx, "retention")
	for ctx.Err() == nil {
		k.report("remove old audit records and archived workspaces", &k.closing, k.retain(ctx))
		k.report("make a checkpoint of the audit trail", &k.checkpointing, k.checkpoint(ctx))
		k.anchor(ctx)
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
		}
	}
	k.report("make a checkpoint of the audit trail", &k.checkpointing, k.checkpoint(context.WithoutCancel(ctx)))
}

// report logs the first of several failures of the same work.
func (k *keeper) report(what string, failing *bool, err error) {
	if err != nil && !*failing {
		k.e.cfg.Log.Error().Err(err).Msg("cannot " + what)
	}
	*failing = err != nil
}

// checkpoint signs what the trail is now, if it has grown. The log has the checkpoint, and the state folder. It also
// empties SQLite's log.
func (k *keeper) checkpoint(ctx context.Context) error {
	if k.e.cfg.Audit.Sign == nil {
		return nil
	}
	c, err := k.e.cfg.Store.Checkpoint(ctx)
	if err != nil || c == k.last {
		return err
	}
	signed, err := k.e.cfg.Audit.Sign(c)
	if err != nil {
		return err
	}
	k.e.cfg.Log.Info().Str("checkpoint", string(signed)).Msg("checkpoint of the audit trail")
	if err := replaceFile(k.e.cfg.Audit.Path, signed); err != nil {
		return err
	}
	k.last, k.signed = c, signed
	return k.e.cfg.Store.Drain(ctx)
}

// replaceFile writes a file so that it is always whole.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// anchor puts the newest checkpoint where this machine cannot change it.
func (k *keeper) anchor(ctx context.Context) {
	now := k.e.cfg.Clock.Now()
	if k.e.cfg.Audit.Anchor == nil || k.last.Size == k.anchored.Size || now.Sub(k.anchoring) < anchorInterval {
		return
	}
	k.anchoring = now
	err := k.e.cfg.Audit.Anchor(ctx, k.last, k.signed)
	if err == nil {
		k.anchored = k.last
		k.e.anchorProblem.Store(nil)
		return
	}
	if ctx.Err() != nil {
		return
	}
	text := "the checkpoint of the audit trail cannot be anchored: " + err.Error()
	if k.e.anchorProblem.Swap(&text) == nil {
		k.e.cfg.Log.Error().Err(err).Msg("cannot anchor the checkpoint of the audit trail")
	}
}

// retain removes the records and the archived workspaces that are too old. The record of a removal is written first.
func (k *keeper) retain(ctx context.Context) error {
	cfg, now := k.e.cfg.Audit, k.e.cfg.Clock.Now()
	if now.Sub(k.pruning) < retentionInterval {
		return nil
	}
	k.pruning = now
	if cfg.ArchiveKeep > 0 {
		if err := k.pruneArchive(ctx, now.Add(-cfg.ArchiveKeep)); err != nil {
			return err
		}
	}
	if cfg.Keep > 0 {
		return k.e.cfg.Store.PruneTrail(ctx, now.Add(-cfg.Keep))
	}
	return nil
}

func (k *keeper) pruneArchive(ctx context.Context, before time.Time) error {
	for {
		paths, err := k.e.cfg.Workspaces.Expired(before, retentionStep)
		if err != nil || len(paths) == 0 {
			return err
		}
		r := audit.Record{Action: audit.ActionPruned, Pruned: &audit.Pruned{Workspaces: paths}}
		if err := k.e.cfg.Store.Record(ctx, r); err != nil {
			return err
		}
		if err := k.e.cfg.Workspaces.RemoveExpired(paths); err != nil {
			return err
		}
	}
}

// trailWarnings returns what keeps the trail from leaving this machine.
func (e *Engine) trailWarnings() (warnings []string) {
	if p := e.anchorProblem.Load(); p != nil {
		warnings = append(warnings, "WARNING: "+*p)
	}
	for _, s := range e.cfg.Audit.Sinks {
		if p := s.Problem(); p != "" {
			warnings = append(warnings, "WARNING: "+p)
		}
	}
	return warnings
}
