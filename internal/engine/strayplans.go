package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// strays are the service plans of ours that the database does not know: by the folder or the resource id where each
// was seen last. The daemon does not remove them, since it does not know who uses them.
type strays struct {
	mu             sync.Mutex
	onDisk, azures []string
}

// tidyServicePlans handles the workspaces on this daemon's disk whose service plans are in no row. One that holds
// nothing goes to the archive: another daemon has removed its service plan.
func (e *Engine) tidyServicePlans(ctx context.Context) error {
	ids, err := e.cfg.Workspaces.ServicePlanIDs()
	if err != nil {
		return err
	}
	var found []string
	var failed []error
	for _, id := range ids {
		if _, err := e.cfg.Store.ServicePlan(ctx, id); err == nil || api.KindOf(err) != api.NotFound {
			failed = append(failed, err)
			continue
		}
		holds, err := e.cfg.Workspaces.HoldsServicePlan(ctx, e.planRemoval(store.ServicePlan{
			ID: id, Name: e.cfg.Settings.planName(id), ResourceGroup: e.cfg.Settings.ResourceGroup,
		}, true))
		switch {
		case errors.Is(err, workspace.ErrLocked): // a job works in it
		case err != nil:
			failed = append(failed, fmt.Errorf("read the workspace of service plan %s: %w", id, err))
		case holds:
			found = append(found, e.cfg.Workspaces.ServicePlanPath(id))
		default:
			e.cfg.Log.Info().Str("workspace", e.cfg.Workspaces.ServicePlanPath(id)).
				Msg("a workspace without a service plan goes to the archive")
			failed = append(failed, e.cfg.Workspaces.ArchiveServicePlan(id))
		}
	}
	e.strays.mu.Lock()
	defer e.strays.mu.Unlock()
	e.strays.onDisk = found
	return errors.Join(failed...)
}

// compareServicePlans looks for service plans in Azure that have this daemon's tags and names, and are in no row.
func (e *Engine) compareServicePlans(ctx context.Context) error {
	listed, err := e.cfg.Azure.ServicePlans(ctx, e.cfg.Settings.ResourceGroup)
	if err != nil {
		return err
	}
	known, err := e.cfg.Store.ServicePlans(ctx) // after the list, so that a new one is no stray
	if err != nil {
		return err
	}
	first := regexp.QuoteMeta(e.cfg.Settings.planName(store.FirstServicePlan))
	ours := regexp.MustCompile("^" + first + "(-[0-9a-f]{8})?$")
	var found []string
	for _, p := range listed {
		name := path.Base(p.ID)
		inRow := slices.ContainsFunc(known, func(k store.ServicePlan) bool { return strings.EqualFold(k.Name, name) })
		if inRow || p.Tags[ownerTag] != e.cfg.Settings.Owner || !ours.MatchString(name) {
			continue
		}
		if _, there, err := e.cfg.Azure.Find(ctx, p.ID); err != nil {
			return err
		} else if there { // the list may be some minutes old
			found = append(found, p.ID)
		}
	}
	e.strays.mu.Lock()
	defer e.strays.mu.Unlock()
	e.strays.azures = found
	return nil
}

// strayWarnings returns a warning of each stray service plan.
func (e *Engine) strayWarnings() (warnings []string) {
	e.strays.mu.Lock()
	defer e.strays.mu.Unlock()
	for _, place := range slices.Concat(e.strays.onDisk, e.strays.azures) {
		warnings = append(warnings, fmt.Sprintf("WARNING: the database does not know service plan %s, which this daemon's "+
			"owner has created. It costs money: delete it when nothing uses it", place))
	}
	return warnings
}
