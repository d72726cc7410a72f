package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// foundation creates what all containers share, once per daemon, and remembers its outputs.
func (e *Engine) foundation(ctx context.Context) (workspace.FoundationOutputs, error) {
	select {
	case <-e.foundationMu:
	case <-ctx.Done():
		return workspace.FoundationOutputs{}, context.Cause(ctx)
	}
	defer func() { e.foundationMu <- struct{}{} }()
	if e.outputs != nil {
		return *e.outputs, nil
	}
	settings, err := e.settings(ctx)
	if err != nil {
		return workspace.FoundationOutputs{}, err
	}
	spec, err := settings.foundationSpec()
	if err != nil {
		return workspace.FoundationOutputs{}, err
	}
	spec.Replace = e.cfg.ReplaceFoundation
	var outputs workspace.FoundationOutputs
	// Daemons with the same owner share the foundation.
	err = e.cfg.Store.Exclusive(ctx, "foundation "+e.cfg.Settings.Owner, func(ctx context.Context) error {
		return e.operate(ctx, workspace.FoundationID, func(dead workspace.DeadHolder) error {
			outputs, err = e.cfg.Workspaces.Foundation(ctx, spec, dead)
			return err
		})
	})
	if err != nil {
		return workspace.FoundationOutputs{}, fmt.Errorf("create foundation: %w", err)
	}
	api.Correlated(ctx, outputs.Operation.CorrelationID)
	if sku := outputs.ServicePlanSKU; spec.ServicePlan == nil && !strings.EqualFold(sku, spec.ServicePlanSKU) {
		e.cfg.Log.Warn().Str("service_plan_sku", spec.ServicePlanSKU).Str("sku", sku).
			Msg("the service plan has another SKU than the settings: it was scaled in Azure, and stays as it is")
	}
	if outputs.TaggedOtherwise != "" {
		e.cfg.Log.Warn().Str("resources", outputs.TaggedOtherwise).Msg("resources that containers share lack tags of the " +
			"setting tags, or have other values: they keep what they have; change them with az tag update --operation merge")
	}
	if sku := outputs.ServicePlanSKU; !runsImages(sku) {
		e.cfg.Log.Warn().Str("service_plan_sku", sku).Msg(noImagesWarning(sku))
	}
	e.outputs = &outputs
	e.logAnalyticsID.Store(&outputs.LogAnalyticsID)
	return outputs, nil
}

// FoundationCreate implements api.Backend. The creation goes on when ctx ends.
func (e *Engine) FoundationCreate(ctx context.Context) (api.Foundation, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-e.interrupted:
			cancel()
		case <-done:
		}
	}()
	outputs, err := e.foundation(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return api.Foundation{}, stopError("the daemon is stopping: send the request again when it has restarted")
		}
		return api.Foundation{}, e.refused(ctx, "create what containers share", store.Container{}, err)
	}
	return api.Foundation{
		ServicePlan: outputs.ServicePlanID, ServicePlanSKU: outputs.ServicePlanSKU,
		LogAnalyticsWorkspace: outputs.LogAnalyticsID,
	}, nil
}
