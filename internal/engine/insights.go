package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"

	"github.com/sockerless/backend-azf/workspace"
)

// insightsTimeout bounds the question of Start. Later questions have the time of their request.
const insightsTimeout = 15 * time.Second

// errInsights is wrapped when the existing Application Insights component cannot be used as the settings say.
var errInsights = errors.New("application_insights cannot be used")

// checkInsights returns an error when the settings name an Application Insights component that does not fit them. When
// Azure does not say, the first create asks again.
func (e *Engine) checkInsights(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, insightsTimeout)
	defer cancel()
	_, err := FoundationSpec(ctx, e.cfg.Settings, e.cfg.Azure)
	if err != nil && !errors.Is(err, errInsights) {
		e.cfg.Log.Warn().Err(err).Msg("cannot read the Application Insights component yet; the first create asks again")
		return nil
	}
	return err
}

// FoundationSpec returns the spec of what all containers share. With an existing Application Insights component, the
// Log Analytics workspace is the one that the component sends its data to: logs are nowhere else. A component without
// one, and one on another workspace than the settings name, is errInsights.
func FoundationSpec(ctx context.Context, s Settings, azure Azure) (workspace.Foundation, error) {
	f, err := s.foundationSpec()
	if err != nil || s.ApplicationInsights == "" {
		return f, err
	}
	component := f.ApplicationInsights
	own, found, err := azure.ComponentWorkspace(ctx, component.ResourceGroupName, component.Name)
	if err != nil {
		return f, fmt.Errorf("application_insights: %w", err)
	}
	name := component.Name + " in resource group " + component.ResourceGroupName
	if !found {
		return f, fmt.Errorf("%w: there is no component %s: create it, or correct the setting", errInsights, name)
	}
	id, err := arm.ParseResourceID(own)
	if own == "" || err != nil {
		return f, fmt.Errorf("%w: the component %s has no Log Analytics workspace (it is a classic one): migrate it to one, "+
			"or leave the setting empty to have a component created", errInsights, name)
	}
	if !strings.EqualFold(id.SubscriptionID, s.SubscriptionID) {
		return f, fmt.Errorf("%w: the component %s sends its data to the Log Analytics workspace %s in another subscription "+
			"than the daemon's: use a component on a workspace in %s, or leave the setting empty to have one created",
			errInsights, name, own, s.SubscriptionID)
	}
	wanted := f.LogAnalyticsWorkspace
	if wanted != nil && (!strings.EqualFold(wanted.Name, id.Name) ||
		!strings.EqualFold(wanted.ResourceGroupName, id.ResourceGroupName)) {
		return f, fmt.Errorf("%w: the component %s sends its data to the Log Analytics workspace %s, and "+
			"log_analytics_workspace is %s, where no log would be found: set log_analytics_workspace to the former, or "+
			"leave it empty to use that", errInsights, name, own, s.LogAnalyticsWorkspace)
	}
	s.LogAnalyticsWorkspace = own
	return s.foundationSpec()
}
