package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

const (
	// deleteTimeout bounds the deletion of one image in the registry. store.RemovalLease depends on it.
	deleteTimeout = 30 * time.Second
	// derivedInterval is the time between two removals of derived images that have not been used for WrapKeep.
	derivedInterval = time.Hour
)

// errSlowRegistry ends a deletion.
var errSlowRegistry = api.Errorf(api.Unavailable, "the registry has not answered within %s", deleteTimeout)

// claimDerived claims a derived image for a container. It waits for the end of a removal of the image.
func (e *Engine) claimDerived(ctx context.Context, containerID string, img store.DerivedImage) error {
	for {
		changed := e.cfg.Store.WatchAll()
		wait, err := e.cfg.Store.ClaimDerived(ctx, containerID, img)
		if err != nil || wait == 0 {
			return err
		}
		select {
		case <-changed:
		case <-e.cfg.Clock.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// removeDerived removes the derived images that no container needs and that match selects, and returns them. What
// the registry does not delete stays for the next time: the log and Info say why.
func (e *Engine) removeDerived(
	ctx context.Context, match func(store.DerivedImage) bool,
) (removed []store.DerivedImage, err error) {
	unused, err := e.cfg.Store.UnusedDerived(ctx)
	if err != nil {
		return nil, err
	}
	var problem error // the last one
	for _, img := range unused {
		if !match(img) {
			continue
		}
		removal, err := e.cfg.Store.BeginRemoval(ctx, img)
		if err != nil {
			return removed, err
		}
		if removal == nil {
			continue
		}
		left := e.deleteImage(ctx, img.Reference)
		if left != nil && ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		if left != nil {
			problem = left
		}
		if errors.Is(left, errSlowRegistry) {
			break
		}
		if left != nil && api.KindOf(left) != api.Forbidden {
			continue // the registry may have deleted it, or do so soon: the lease keeps creates from it until then
		}
		if err := e.cfg.Store.EndRemoval(context.WithoutCancel(ctx), *removal, left == nil); err != nil {
			return removed, err
		}
		if left == nil {
			removed = append(removed, img)
		}
	}
	e.reportDerived(problem)
	return removed, nil
}

func (e *Engine) deleteImage(ctx context.Context, ref string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deleteTimeout, errSlowRegistry)
	defer cancel()
	return e.cfg.Wrapper.Remove(ctx, ref)
}

// reportDerived keeps for Info why derived images could not be removed, and logs a new reason.
func (e *Engine) reportDerived(problem error) {
	if problem == nil {
		e.derivedProblem.Store(nil)
		return
	}
	text := fmt.Sprintf("wrapped images that no container uses cannot be removed: %v", problem)
	if before := e.derivedProblem.Swap(&text); before == nil || *before != text {
		e.cfg.Log.Warn().Err(problem).Msg("cannot remove wrapped images that no container uses")
	}
}

// keepDerived removes the derived images that have not been used for WrapKeep, until ctx ends. Daemons on one database
// all do so: each image is removed by one of them.
func (e *Engine) keepDerived(ctx context.Context) {
	ticker := e.cfg.Clock.NewTicker(derivedInterval)
	defer ticker.Stop()
	ctx = api.ByDaemon(ctx, "retention")
	for {
		if err := e.removeLongUnused(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Log.Error().Err(err).Msg("cannot look for wrapped images that no container uses")
		}
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) removeLongUnused(ctx context.Context) error {
	before := e.cfg.Store.Now().Add(-e.cfg.WrapKeep)
	_, err := e.removeDerived(ctx, func(img store.DerivedImage) bool { return img.LastUsed.Before(before) })
	return err
}
