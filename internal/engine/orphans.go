package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// defaultOrphanGrace is the time that an orphan must have been seen for before it is destroyed.
const defaultOrphanGrace = time.Hour

// gcCommand is the command that lists and confirms orphans.
const gcCommand = "sockerless-backend-azf gc"

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// tidyWorkspaces handles the workspaces on this daemon's disk whose containers are gone. One that holds no resources
// goes to the archive. The others are orphans.
func (e *Engine) tidyWorkspaces(ctx context.Context) error {
	ids, err := e.cfg.Workspaces.IDs()
	if err != nil {
		return err
	}
	c := e.comparison(store.OrphanWorkspace, e.cfg.Home)
	c.There = len(ids)
	var failed []error
	for _, id := range ids {
		orphan, err := e.tidyWorkspace(ctx, id)
		if err != nil {
			c.Complete = false
		}
		if !errors.Is(err, workspace.ErrLocked) {
			failed = append(failed, err)
		}
		if orphan {
			c.Seen = append(c.Seen, store.Orphan{ContainerID: id, Place: e.cfg.Workspaces.Path(id)})
		}
	}
	return errors.Join(append(failed, e.settle(ctx, c))...)
}

// tidyWorkspace is the part of tidyWorkspaces for one workspace. orphan reports whether the workspace has no container
// and still holds resources.
func (e *Engine) tidyWorkspace(ctx context.Context, id string) (orphan bool, err error) {
	if gone, err := e.gone(ctx, id); err != nil || !gone {
		return false, err
	}
	holds, err := e.cfg.Workspaces.Holds(ctx, e.removal(id, "", true))
	if err != nil {
		return false, fmt.Errorf("read the workspace of %s: %w", id, err)
	}
	if holds {
		return true, nil
	}
	level := zerolog.WarnLevel
	if e.cfg.RemoteState {
		level = zerolog.InfoLevel // usually another daemon has removed the container
	}
	e.cfg.Log.WithLevel(level).Str("container_id", id).Str("workspace", e.cfg.Workspaces.Path(id)).
		Msg("a workspace without a container goes to the archive")
	return false, e.cfg.Workspaces.Archive(id)
}

// compareAzure handles the function apps that have this daemon's tags, no container and no workspace here: they are
// orphans.
func (e *Engine) compareAzure(ctx context.Context) error {
	apps, err := e.cfg.Azure.FunctionApps(ctx, e.cfg.Settings.ResourceGroup)
	if err != nil {
		return err
	}
	onDisk, err := e.cfg.Workspaces.IDs()
	if err != nil {
		return err
	}
	known, err := e.cfg.Store.Orphans(ctx)
	if err != nil {
		return err
	}
	c := e.comparison(store.OrphanApp, "")
	places := map[string]string{} // resource ids, by containers
	for _, app := range apps {
		if id, ours := e.containerOf(app); ours {
			c.There++
			places[id] = app.ID
		}
	}
	for _, o := range known { // the list may lack an app for some minutes
		if o.Kind == store.OrphanApp {
			places[o.ContainerID] = o.Place
		}
	}
	for _, id := range onDisk {
		delete(places, id) // tidyWorkspaces handles the apps that have a workspace here
	}
	var failed []error
	for _, id := range slices.Sorted(maps.Keys(places)) {
		orphan, err := e.compareApp(ctx, id, places[id])
		if err != nil {
			c.Complete = false
			failed = append(failed, err)
		}
		if orphan != nil {
			c.Seen = append(c.Seen, *orphan)
		}
	}
	return errors.Join(append(failed, e.settle(ctx, c))...)
}

// containerOf returns the id of the container to which a function app's tags belong. ours reports whether the app is
// one of this daemon's.
func (e *Engine) containerOf(app workspace.Found) (id string, ours bool) {
	id = app.Tags[idTag]
	ours = app.Tags[ownerTag] == e.cfg.Settings.Owner && containerID.MatchString(id) && path.Base(app.ID) == appName(id)
	return id, ours
}

// compareApp is the part of compareAzure for the function app of one container. It returns nil unless the app is an
// orphan.
func (e *Engine) compareApp(ctx context.Context, id, resourceID string) (*store.Orphan, error) {
	// The row is read after the list, so that an app created or removed in between is not an orphan.
	if gone, err := e.gone(ctx, id); err != nil || !gone {
		return nil, err
	}
	app, there, err := e.cfg.Azure.Find(ctx, resourceID)
	if err != nil || !there {
		return nil, err
	}
	if _, ours := e.containerOf(app); !ours {
		return nil, nil
	}
	return &store.Orphan{ContainerID: id, Name: app.Tags[nameTag], Place: resourceID}, nil
}

// destroyOrphan lets Terraform destroy what an orphan holds.
func (e *Engine) destroyOrphan(ctx context.Context, o store.Orphan) (workspace.Operation, error) {
	resourceID := ""
	if o.Kind == store.OrphanApp {
		resourceID = o.Place
	}
	return e.destroyApp(withPurpose(ctx, audit.ActionGC), "", o.ContainerID, resourceID, true)
}

// comparison returns a comparison that has seen nothing.
func (e *Engine) comparison(kind store.OrphanKind, home string) store.Comparison {
	interval := e.cfg.ReconcileInterval
	if interval < 0 {
		interval = defaultReconcileInterval
	}
	return store.Comparison{Kind: kind, Home: home, Complete: true, MaxStep: 2 * interval}
}

// settle records a comparison, and destroys the orphans that may go. It reports the others.
func (e *Engine) settle(ctx context.Context, c store.Comparison) error {
	seen, err := e.cfg.Store.Compared(ctx, c)
	if err != nil {
		return err
	}
	var failed []error
	for _, o := range seen {
		log := e.cfg.Log.With().Str("orphan", describe(o)).Str("container_id", o.ContainerID).Logger()
		state, reason := e.fate(o)
		if state != api.OrphanDue {
			log.Warn().Str("state", string(state)).Str("reason", reason).Msg("an orphan stays: " + gcCommand + " shows it")
			continue
		}
		operation, err := e.destroyOrphan(ctx, o)
		if err != nil {
			failed = append(failed, fmt.Errorf("destroy %s: %w", describe(o), err))
			continue
		}
		log.Warn().Str("correlation_id", operation.CorrelationID).Str("reason", reason).Msg("destroyed an orphan")
		failed = append(failed, e.cfg.Store.Forget(ctx, o))
	}
	return errors.Join(failed...)
}

// describe names an orphan as the log does.
func describe(o store.Orphan) string {
	if o.Kind == store.OrphanApp {
		return string(o.Kind) + " " + path.Base(o.Place)
	}
	return string(o.Kind) + " " + o.Place
}

// fate returns what becomes of an orphan, and why. It decides alone what is destroyed: what a person has confirmed, and
// with DeleteOrphans what this daemon's database knows as removed, after OrphanGrace and at least two comparisons.
func (e *Engine) fate(o store.Orphan) (api.OrphanState, string) {
	grace := e.cfg.OrphanGrace
	switch {
	case !o.Confirmed.IsZero():
		return api.OrphanDue, "its removal was confirmed"
	case o.Held == store.HeldUnknown:
		return api.OrphanHeld, "the database does not know that its container was removed"
	case o.Held == store.HeldMost:
		return api.OrphanHeld, "most of what was there had no container"
	case !e.cfg.DeleteOrphans:
		return api.OrphanReported, "gc is report"
	case o.Sightings < 2 || o.Waited < grace:
		return api.OrphanWaiting, fmt.Sprintf("it has been there for %s of %s", o.Waited.Round(time.Second), grace)
	default:
		return api.OrphanDue, fmt.Sprintf("it has been there for %s", o.Waited.Round(time.Second))
	}
}

// Orphans implements api.Backend.
func (e *Engine) Orphans(ctx context.Context) ([]api.Orphan, error) {
	known, err := e.cfg.Store.Orphans(ctx)
	return e.shown(known), err
}

// OrphansConfirm implements api.Backend.
func (e *Engine) OrphansConfirm(ctx context.Context, refs []string) ([]api.Orphan, error) {
	if len(refs) == 0 {
		return nil, api.Errorf(api.InvalidParameter, "no orphan given: set IDs to the ids that GET /gc shows")
	}
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = strings.TrimPrefix(ref, appPrefix)
	}
	confirmed, err := e.cfg.Store.Confirm(ctx, ids)
	if err != nil {
		return nil, err
	}
	select {
	case e.compareNow <- struct{}{}:
	default: // a comparison is due already
	}
	return e.shown(confirmed), nil
}

func (e *Engine) shown(known []store.Orphan) []api.Orphan {
	list := []api.Orphan{}
	for _, o := range known {
		state, reason := e.fate(o)
		list = append(list, api.Orphan{
			ID: o.ContainerID, Kind: string(o.Kind), Name: o.Name, Place: o.Place, FirstSeen: o.FirstSeen, LastSeen: o.LastSeen,
			State: state, Reason: reason,
		})
	}
	return list
}

// orphanWarnings returns a warning of the orphans that the last comparisons found, and what to do about them.
func (e *Engine) orphanWarnings(ctx context.Context) ([]string, error) {
	known, err := e.cfg.Store.Orphans(ctx)
	if err != nil || len(known) == 0 {
		return nil, err
	}
	var found []string
	advice := ""
	for _, o := range known {
		state, _ := e.fate(o)
		found = append(found, fmt.Sprintf("%s (%s)", describe(o), state))
		if state == api.OrphanReported {
			advice = ". Set gc to delete to have those that are only reported destroyed"
		}
	}
	return []string{fmt.Sprintf("WARNING: %d orphans in Azure belong to this daemon and to no container: %s. "+
		"They cost money. \"%s\" shows why they stay, and \"%s confirm ID...\" has them destroyed%s",
		len(found), strings.Join(found, ", "), gcCommand, gcCommand, advice)}, nil
}
