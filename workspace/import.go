package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/tfmodules"
)

// Tags that name the owner of a resource. A resource without them is not ours and is never touched.
const (
	// IDTag is the tag with the id of a function app's container.
	IDTag = "sockerless-container-id"
	// OwnerTag is the tag with the owner of the daemon that created a resource.
	OwnerTag = "sockerless-owner"
)

// ErrForeign is wrapped when Azure holds a resource that has the name of one of ours and the tags of somebody else.
var ErrForeign = errors.New("it belongs to somebody else")

// errImportChanges is wrapped when an import would change Azure.
var errImportChanges = errors.New("the plan of an import would change resources, so it is not applied")

// importsFile lies in a workspace only while an import goes on.
const importsFile = "imports.tf.json"

// importable is a resource of a workspace's module, with its id in Azure and the tag that makes it ours.
type importable struct {
	tfmodules.Resource
	id string
	// tag is empty when the resource is ours whatever its tags are.
	tag, value string
	// shared: the resource may exist before the first apply, because a daemon that lost its state folder created it.
	shared bool
}

func (m *Manager) resourceID(group, kind, name string) string {
	return "/subscriptions/" + m.cfg.SubscriptionID + "/resourceGroups/" + group + "/providers/" + kind + "/" + name
}

// ofFunctionApp returns the resources of the modules functionapp and removal.
func (m *Manager) ofFunctionApp(id, app, group string) (all []importable) {
	for _, r := range tfmodules.FunctionAppResources() {
		all = append(all, importable{Resource: r, id: m.resourceID(group, r.Type, app+r.Suffix), tag: IDTag, value: id})
	}
	return all
}

// ofServicePlan returns the resources of the modules serviceplan and serviceplanremoval.
func (m *Manager) ofServicePlan(name, group, owner string) (all []importable) {
	for _, r := range tfmodules.ServicePlanResources() {
		azureID := m.resourceID(group, r.Type, name+r.Suffix)
		all = append(all, importable{Resource: r, id: azureID, tag: OwnerTag, value: owner, shared: true})
	}
	return all
}

// ofFoundation returns the resources that the module foundation creates because no existing ones are named.
func (m *Manager) ofFoundation(f Foundation) (all []importable) {
	existing := map[string]*Existing{
		"log_analytics_workspace": f.LogAnalyticsWorkspace, "application_insights": f.ApplicationInsights,
	}
	for _, r := range tfmodules.FoundationResources() {
		if existing[r.Unless] == nil {
			azureID := m.resourceID(f.ResourceGroupName, r.Type, f.Name+r.Suffix)
			all = append(all, importable{Resource: r, id: azureID, tag: OwnerTag, value: f.Tags[OwnerTag], shared: true})
		}
	}
	return all
}

// missing returns the resources that Azure holds and the state, which may be nil, does not know. An apply leaves one
// when it is killed or interrupted before the creation is complete, and so does a lost state. A resource of that name
// that is not ours is ErrForeign, and stays as it is.
func (m *Manager) missing(ctx context.Context, known *state, all []importable) (found []importable, err error) {
	for _, r := range all {
		if known.has(r.Address) {
			continue
		}
		there, ok, err := m.cfg.Find(ctx, r.id)
		if err != nil {
			return nil, fmt.Errorf("look for what the state does not know: %w", err)
		}
		if !ok {
			continue
		}
		if r.tag != "" && there.Tags[r.tag] != r.value {
			return nil, fmt.Errorf("%s exists: its tags are %s=%q and %s=%q: %w",
				r.id, IDTag, there.Tags[IDTag], OwnerTag, there.Tags[OwnerTag], ErrForeign)
		}
		found = append(found, r)
	}
	return found, nil
}

// leftovers returns what is missing in the state before an apply. With a local backend, a workspace that was never
// applied can have left only what is shared. Another workspace's state is ErrOtherState. name is the resource's, "" for
// the foundation.
func (m *Manager) leftovers(ctx context.Context, s *session, name string, all []importable) ([]importable, error) {
	last, err := newestOperation(s.dir)
	if err != nil {
		return nil, err
	}
	known, err := m.knownState(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if last == nil && known == nil && !m.cfg.Backend.Remote() {
		all = slices.DeleteFunc(slices.Clone(all), func(r importable) bool { return !r.shared })
	}
	return m.missing(ctx, known, all)
}

// importBlock is Terraform's, in its JSON syntax.
type importBlock struct {
	To string `json:"to"`
	ID string `json:"id"`
}

// literal returns a string of Terraform's JSON syntax that stands for str as it is. Strings are templates there.
func literal(str string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(str)
}

// writeImports writes the import blocks of resources.
func writeImports(dir string, list []importable) error {
	var blocks struct {
		Import []importBlock `json:"import"`
	}
	for _, r := range list {
		blocks.Import = append(blocks.Import, importBlock{To: r.Address, ID: literal(r.id)})
	}
	return writeJSON(filepath.Join(dir, importsFile), blocks)
}

// operateImporting runs an operation that imports resources beside its own work. An operation of the kind importing
// does only that, and is refused when the plan has other changes.
func (m *Manager) operateImporting(
	ctx context.Context, k kind, s *session, list []importable,
) (op Operation, err error) {
	s.importing = nil
	if len(list) == 0 {
		return m.operate(ctx, k, s)
	}
	// A destroy, and an operation with nothing to import, must not see the file.
	defer func() { err = errors.Join(err, remove(s.dir, importsFile)) }()
	if err := writeImports(s.dir, list); err != nil {
		return Operation{}, fmt.Errorf("render imports: %w", err)
	}
	for _, r := range list {
		s.importing = append(s.importing, r.Address)
	}
	if op, err = m.operate(ctx, k, s); err != nil {
		return op, err
	}
	for _, r := range list {
		m.cfg.Log.Warn().Str("workspace", s.dir).Str("resource", r.id).Str("correlation_id", s.correlation).
			Msg("imported a resource that an earlier operation left behind")
	}
	return op, nil
}

// onlyImports returns an error when a plan changes anything in Azure.
func onlyImports(plan *tfjson.Plan) error {
	harmless := []tfjson.Action{tfjson.ActionNoop, tfjson.ActionRead}
	for _, rc := range plan.ResourceChanges {
		if rc.Change == nil {
			continue
		}
		for _, action := range rc.Change.Actions {
			if !slices.Contains(harmless, action) {
				return fmt.Errorf("%s would be changed (%s): %w", rc.Address, action, errImportChanges)
			}
		}
	}
	return nil
}

func writeJSON(path string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return keepFile(path, content)
}
