package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// Tags that tell whose a resource is. What lacks them is not ours and is never touched.
const (
	// IDTag is the tag with the id of a function app's container.
	IDTag = "sockerless-container-id"
	// OwnerTag is the tag with the owner of the daemon that made a resource.
	OwnerTag = "sockerless-owner"
)

// ErrForeign is wrapped when something in Azure has the name of what is to be made and the tags of somebody else.
var ErrForeign = errors.New("it belongs to somebody else")

// own is a resource of a module that is known beforehand: its address, its id in Azure, and the tag that makes it ours.
type own struct {
	address, id string
	tag, value  string
	// shared tells that it may be there before the first apply: a daemon that lost its state folder made it.
	shared bool
}

func (m *Manager) resourceID(group, kind, name string) string {
	return "/subscriptions/" + m.cfg.SubscriptionID + "/resourceGroups/" + group + "/providers/" + kind + "/" + name
}

func (m *Manager) ownApp(id string, app FunctionApp) []own {
	return []own{{"azurerm_linux_function_app.this", m.resourceID(app.ResourceGroupName, "Microsoft.Web/sites", app.Name), IDTag, id, false}}
}

// ownFoundation are the resources that the module foundation makes because no existing ones are named.
func (m *Manager) ownFoundation(f Foundation) []own {
	var out []own
	for _, r := range []struct {
		existing            *Existing
		address, kind, name string
	}{
		{f.LogAnalyticsWorkspace, "azurerm_log_analytics_workspace.this[0]", "Microsoft.OperationalInsights/workspaces", "-logs"},
		{f.ApplicationInsights, "azurerm_application_insights.this[0]", "Microsoft.Insights/components", "-insights"},
		{f.ServicePlan, "azurerm_service_plan.this[0]", "Microsoft.Web/serverFarms", "-plan"},
	} {
		if r.existing == nil {
			out = append(out, own{r.address, m.resourceID(f.ResourceGroupName, r.kind, f.Name+r.name), OwnerTag, f.Tags[OwnerTag], true})
		}
	}
	return out
}

// adopt imports what the last apply made in Azure but did not live to write into the state, and tells whether there was any. The
// provider knows a resource only once its creation is complete, so an apply that is killed or interrupted before may leave one.
// Something of that name that is not ours is ErrForeign, and stays as it is.
func (m *Manager) adopt(ctx context.Context, dir string, list []own, s *session) (adopted bool, err error) {
	last, err := lastOperation(dir, applying)
	if err == nil && last == nil && m.cfg.Backend.Remote() {
		last = &Operation{} // another daemon may have died in its first run
	}
	if err != nil || last != nil && !last.mayHaveLeft() {
		return false, err
	}
	known, err := m.readState(ctx, dir, s)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if errors.Is(err, fs.ErrNotExist) && last.leftState() {
		return false, nil // the state was lost since: that is not for an import to cover up
	}
	for _, r := range list {
		if known.has(r.address) || last == nil && !r.shared {
			continue
		}
		found, ok, err := m.cfg.Find(ctx, r.id)
		if err != nil {
			return adopted, fmt.Errorf("look for what an earlier run left behind: %w", err)
		}
		if !ok {
			continue
		}
		if found.Tags[r.tag] != r.value {
			return adopted, fmt.Errorf("%s exists: its tags are %s=%q and %s=%q: %w", r.id, IDTag, found.Tags[IDTag], OwnerTag, found.Tags[OwnerTag], ErrForeign)
		}
		if err := m.importOne(ctx, dir, r, s); err != nil {
			return adopted, err
		}
		adopted = true
	}
	return adopted, nil
}

func (m *Manager) importOne(ctx context.Context, dir string, r own, s *session) error {
	err := m.command(ctx, dir, "import", s, func(tf *tfexec.Terraform) error {
		return tf.Import(ctx, r.address, r.id, s.attach(), m.lockTimeout())
	})
	_, secureErr := secureState(dir)
	if err != nil {
		return errors.Join(err, secureErr)
	}
	m.cfg.Log.Warn().Str("workspace", dir).Str("resource", r.id).Str("correlation_id", s.correlation).Msg("imported what an earlier run left behind")
	return secureErr
}

// readSpec reads the variables of a container's workspace. A workspace that was never rendered whole has none: ok is false.
func readSpec(dir string) (spec FunctionApp, ok bool, err error) {
	content, err := os.ReadFile(filepath.Join(dir, varsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return FunctionApp{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &spec)
	}
	if err != nil {
		return FunctionApp{}, false, fmt.Errorf("read variables in %s: %w", dir, err)
	}
	return spec, true, nil
}
