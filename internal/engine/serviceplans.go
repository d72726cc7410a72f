package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// idleCheck is the interval at which idle service plans are looked for.
const idleCheck = time.Minute

type createPlanArgs struct {
	ServicePlan string `json:"service_plan"`
}

func (createPlanArgs) Kind() string { return "create-service-plan" }

type destroyPlanArgs struct {
	ServicePlan string `json:"service_plan"`
}

func (destroyPlanArgs) Kind() string { return "destroy-service-plan" }

// planName returns the name in Azure of a service plan that the engine creates. The first one has the name that
// earlier releases gave their only one.
func (s Settings) planName(id string) string {
	name := "skls-" + s.Owner + "-plan"
	if id != store.FirstServicePlan {
		name += "-" + id
	}
	return name
}

// planID returns the resource id of a service plan.
func (s Settings) planID(group, name string) string {
	return "/subscriptions/" + s.SubscriptionID + "/resourceGroups/" + group +
		"/providers/Microsoft.Web/serverFarms/" + name
}

// servicePlanSpec returns the spec of the workspace of a service plan. On Dedicated ones each app says how many
// instances it has, so that a service plan that somebody scales out still runs each app once. Those of Elastic Premium
// stay at one instance.
func (s Settings) servicePlanSpec(p store.ServicePlan) workspace.ServicePlan {
	spec := workspace.ServicePlan{
		Name: p.Name, ResourceGroupName: p.ResourceGroup, Location: s.Location, SKU: p.SKU, Tags: s.sharedTags(),
		PerSiteScaling: alwaysOn(p.SKU),
	}
	if p.ID == store.FirstServicePlan {
		spec.Adopt = p.ResourceID
	}
	if isElastic(p.SKU) {
		spec.MaximumElasticWorkers = new(1)
	}
	return spec
}

// existingPlans returns the service plans of the setting AppServicePlan, by their resource ids.
func (s Settings) existingPlans() (list []store.ServicePlan, err error) {
	for part := range strings.SplitSeq(s.AppServicePlan, ",") {
		found, err := s.existing("app_service_plan", strings.TrimSpace(part))
		if err != nil || found == nil {
			return nil, err
		}
		list = append(list, store.ServicePlan{
			Name: found.Name, ResourceGroup: found.ResourceGroupName,
			ResourceID: s.planID(found.ResourceGroupName, found.Name),
		})
	}
	return list, nil
}

// ensurePool sets the rule by which the store places containers, once. Existing service plans are looked up in Azure,
// so that it may fail and is tried again with the next create.
func (e *Engine) ensurePool(ctx context.Context) error {
	select {
	case <-e.poolMu:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { e.poolMu <- struct{}{} }()
	if e.pooled {
		return nil
	}
	s := e.cfg.Settings
	existing, err := s.existingPlans()
	if err != nil {
		return err
	}
	for i := range existing {
		if err := e.checkExisting(ctx, &existing[i]); err != nil {
			return err
		}
	}
	first, err := e.earlierPlan(ctx)
	if err != nil {
		return err
	}
	err = e.cfg.Store.SetPool(ctx, store.Pool{
		Existing: existing, First: first, SKU: s.sku(), Capacity: s.capacity(s.sku()), ResourceGroup: s.ResourceGroup,
		Max: max(s.MaxServicePlans, 1), Spare: s.SpareServicePlans, Name: s.planName, CapacityOf: s.capacity,
		Provision: func(id string) store.InTx { return e.enqueue(provisionArgs{ContainerID: id}, new(int64)) },
		CreatePlan: func(id string) store.InTx {
			return e.enqueue(createPlanArgs{ServicePlan: id}, new(int64))
		},
		DestroyPlan: func(id string) store.InTx {
			return e.enqueue(destroyPlanArgs{ServicePlan: id}, new(int64))
		},
	})
	if err == nil && len(existing) > 0 {
		err = e.cfg.Store.MoveFirst(ctx, existing[0].ResourceID)
	}
	e.pooled = err == nil
	return err
}

// checkExisting fills in what Azure knows of an existing service plan, and refuses one that cannot run each app once.
func (e *Engine) checkExisting(ctx context.Context, p *store.ServicePlan) error {
	found, there, err := e.cfg.Azure.ServicePlan(ctx, p.ResourceID)
	switch {
	case err != nil:
		return api.Errorf(api.Unavailable, "look up service plan %s: %w", p.Name, err)
	case !there:
		return api.Errorf(api.NotFound, "there is no service plan %s in resource group %s: correct its name in "+
			"app_service_plan, or leave that empty to have service plans created", p.Name, p.ResourceGroup)
	case !found.Linux:
		return api.Errorf(api.InvalidParameter, "service plan %s is not a Linux plan, and only those run images: set "+
			"app_service_plan to one, or leave it empty to have one created", p.Name)
	case alwaysOn(found.SKU) && found.Workers > 1 && !found.PerSiteScaling:
		return api.Errorf(api.InvalidParameter, "service plan %s has %d instances, and would run each app on all of them: "+
			"enable per-site scaling on it, or scale it to one instance", p.Name, found.Workers)
	}
	if !runsImages(found.SKU) {
		e.cfg.Log.Warn().Str("service_plan", p.Name).Msg(noImagesWarning(found.SKU))
	}
	p.SKU, p.Capacity = found.SKU, e.cfg.Settings.capacity(found.SKU)
	if found.PerSiteScaling {
		p.Capacity *= max(found.Workers, 1) // Azure spreads the apps over the instances
	}
	return nil
}

// earlierPlan returns the service plan that the foundation of an earlier release has created, nil if there is none.
func (e *Engine) earlierPlan(ctx context.Context) (*store.ServicePlan, error) {
	known, err := e.cfg.Workspaces.FoundationOutputs(ctx)
	if errors.Is(err, workspace.ErrNoWorkspace) || err == nil && known.EarlierServicePlan == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the service plan of an earlier release: %w", err)
	}
	found, there, err := e.cfg.Azure.ServicePlan(ctx, known.EarlierServicePlan)
	if err != nil || !there {
		return nil, err
	}
	s := e.cfg.Settings
	return &store.ServicePlan{
		Name: s.planName(store.FirstServicePlan), ResourceGroup: s.ResourceGroup, ResourceID: known.EarlierServicePlan,
		SKU: found.SKU, Capacity: s.capacity(found.SKU),
	}, nil
}

// adopted waits until the service plan of an earlier release's foundation, if there is one, has its own workspace, so
// that the foundation may forget it.
func (e *Engine) adopted(ctx context.Context) error {
	if err := e.ensurePool(ctx); err != nil {
		return err
	}
	for {
		changed := e.cfg.Store.Watch(store.FirstServicePlan)
		p, err := e.cfg.Store.ServicePlan(ctx, store.FirstServicePlan)
		if api.KindOf(err) == api.NotFound {
			return nil
		}
		if err != nil || p.State != store.PlanCreating {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

type createPlanWorker struct {
	river.WorkerDefaults[createPlanArgs]
	engine *Engine
}

// Work creates a service plan. When that fails, it destroys what was created, and the containers that wait for the
// service plan get the reason.
func (w *createPlanWorker) Work(ctx context.Context, job *river.Job[createPlanArgs]) error {
	e, id := w.engine, job.Args.ServicePlan
	if err := e.ensurePool(ctx); err != nil {
		return err
	}
	p, due, err := e.cfg.Store.DuePlan(ctx, id, store.PlanCreating, completed(job))
	if err != nil || !due {
		return err
	}
	ctx, log := e.forPlanJob(ctx, job.JobRow, p)
	var outputs workspace.ServicePlanOutputs
	err = e.operateOn(ctx, p.ID, workspace.ServicePlanWorkspace(id), func(dead workspace.DeadHolder) error {
		outputs, err = e.cfg.Workspaces.ProvisionServicePlan(ctx, id, e.cfg.Settings.servicePlanSpec(p), dead)
		return err
	})
	if err == nil {
		err := e.cfg.Store.PlanReady(ctx, id, outputs.ResourceID, outputs.SKU, completed(job))
		if err == nil {
			log.Info().Str("sku", outputs.SKU).Msg("service plan created")
		}
		return err
	}
	if later := snoozed(err); later != nil {
		return later
	}
	refused := e.refused(ctx, "create service plan "+p.Name, store.Container{}, err)
	if ctx.Err() != nil || id == store.FirstServicePlan {
		return refused // an adopted one is there, whatever happens
	}
	log.Error().Err(refused).AnErr("cause", refused.Err).Msg("service plan not created")
	_, err = e.destroyPlan(withPurpose(ctx, audit.ActionRollback), p, job.Attempt > 1)
	if later := snoozed(err); later != nil {
		return later
	}
	left := ""
	switch {
	case err == nil && refusal(refused.Err):
		refused.Message += nothingCreated
	case err != nil:
		if ctx.Err() != nil {
			return err
		}
		left = e.refused(ctx, "destroy what was created of service plan "+p.Name, store.Container{}, err).Message
	}
	return e.cfg.Store.PlanFailed(ctx, id, refused, left, e.cfg.RetryAfter, completed(job))
}

type destroyPlanWorker struct {
	river.WorkerDefaults[destroyPlanArgs]
	engine *Engine
}

// Work destroys a service plan. When policies refuse that, it stays in the pool. When it fails, it is tried again
// later.
func (w *destroyPlanWorker) Work(ctx context.Context, job *river.Job[destroyPlanArgs]) error {
	e, id := w.engine, job.Args.ServicePlan
	if err := e.ensurePool(ctx); err != nil {
		return err
	}
	p, due, err := e.cfg.Store.DuePlan(ctx, id, store.PlanRemoving, completed(job))
	if err != nil || !due {
		return err
	}
	ctx, log := e.forPlanJob(ctx, job.JobRow, p)
	_, err = e.destroyPlan(withPurpose(ctx, askedRemoval), p, true)
	if later := snoozed(err); later != nil {
		return later
	}
	switch {
	case err == nil:
		log.Info().Msg("service plan removed")
		return e.cfg.Store.PlanRemoved(ctx, id, completed(job))
	case ctx.Err() != nil:
		return err
	}
	refused := e.refused(ctx, "remove service plan "+p.Name, store.Container{}, err)
	if refusal(err) {
		log.Warn().Err(refused).Msg("the removal of a service plan was refused")
		return e.cfg.Store.PlanKept(ctx, id, refused.Message, completed(job))
	}
	log.Error().Err(refused).AnErr("cause", refused.Err).Msg("service plan not removed")
	return e.cfg.Store.PlanStays(ctx, id, refused.Message, e.cfg.RetryAfter, completed(job))
}

func (e *Engine) destroyPlan(
	ctx context.Context, p store.ServicePlan, begun bool,
) (operation workspace.Operation, err error) {
	err = e.operateOn(ctx, p.ID, workspace.ServicePlanWorkspace(p.ID), func(dead workspace.DeadHolder) error {
		operation, err = e.cfg.Workspaces.DestroyServicePlan(ctx, e.planRemoval(p, begun), dead)
		return err
	})
	return operation, err
}

func (e *Engine) planRemoval(p store.ServicePlan, begun bool) workspace.PlanRemoval {
	return workspace.PlanRemoval{
		ID: p.ID, Name: p.Name, ResourceGroup: p.ResourceGroup, Owner: e.cfg.Settings.Owner, Begun: begun,
	}
}

// keepPool removes idle service plans, and retries removals, until ctx ends.
func (e *Engine) keepPool(ctx context.Context) {
	ctx = api.ByDaemon(ctx, "service-plans")
	ticker := e.cfg.Clock.NewTicker(idleCheck)
	defer ticker.Stop()
	for {
		err := e.ensurePool(ctx)
		if err == nil {
			err = errors.Join(e.cfg.Store.RemoveIdlePlans(ctx, e.cfg.Settings.ServicePlanIdle),
				e.cfg.Store.RetryPlans(ctx, maxRetryAfter))
		}
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Error().Err(err).Stringer("retry_in", idleCheck).
				Msg("cannot look after the service plans: creates may be refused until that is possible")
		}
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
			return
		}
	}
}

// poolStatus describes the service plans for docker info.
func (e *Engine) poolStatus(ctx context.Context) (status [][2]string, warnings []string, err error) {
	list, err := e.cfg.Store.ServicePlans(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range list {
		text := fmt.Sprintf("%s, %d of %d apps, %s", p.SKU, p.Apps, p.Capacity, p.State)
		if p.State == store.PlanReady && p.Apps == 0 && !p.Existing {
			text += " since " + p.IdleSince.Format(time.RFC3339) + ", idle"
		}
		status = append(status, [2]string{"Service Plan " + p.Name, text})
		if p.State == store.PlanDead {
			warnings = append(warnings, fmt.Sprintf("WARNING: service plan %s could not be removed, and costs money: %s",
				p.Name, p.Error))
		}
	}
	waiting, err := e.cfg.Store.CountWaiting(ctx)
	if err == nil && waiting > 0 {
		status = append(status, [2]string{"Containers Waiting", fmt.Sprint(waiting)})
	}
	return status, warnings, err
}
