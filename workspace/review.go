package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// ErrFoundationChanges is wrapped when a plan would delete, replace or shrink what all containers share, and
// Foundation.Replace does not allow it. Nothing is changed then.
var ErrFoundationChanges = errors.New("the plan would harm what all containers share")

// allowedFile keeps in the foundation's workspace what Foundation.Replace has allowed.
const allowedFile = "foundation_changes.json"

// allowance is the content of allowedFile.
type allowance struct {
	Harm []string `json:"harm"`
	// Used reports whether a plan with it was applied.
	Used bool `json:"used"`
}

// reviewFoundation decides whether a plan for the foundation may be applied. f.Replace allows one harmful plan, and
// again after it was interrupted, until it was applied. The allowance ends when reviewFoundation is called without it.
func reviewFoundation(dir string, plan *tfjson.Plan, f Foundation) error {
	given, err := readAllowance(dir)
	if err != nil {
		return err
	}
	if !f.Replace {
		if err := remove(dir, allowedFile); err != nil {
			return fmt.Errorf("review plan: %w", err)
		}
	}
	found := harm(plan, f.AdoptedServicePlan)
	if err := given.refusal(found, f.Replace); err != nil || len(found) == 0 || len(given.Harm) > 0 {
		return err
	}
	return writeJSON(filepath.Join(dir, allowedFile), allowance{Harm: found})
}

// readAllowance returns what was allowed earlier.
func readAllowance(dir string) (given allowance, err error) {
	content, err := os.ReadFile(filepath.Join(dir, allowedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return given, nil
	}
	if err != nil {
		return given, fmt.Errorf("review plan: %w", err)
	}
	if json.Unmarshal(content, &given) != nil {
		given = allowance{Used: true} // of a damaged file nothing is known
	}
	return given, nil
}

// refusal returns why a plan with the harm that was found may not be applied after what was allowed earlier, or nil.
func (given allowance) refusal(found []string, replace bool) error {
	switch {
	case len(found) == 0:
		return nil
	case !replace:
		return fmt.Errorf("%w: %s. Nothing was changed. Set back the settings that the daemon was started with before, "+
			"or set foundation_changes to replace for one start", ErrFoundationChanges, strings.Join(found, "; "))
	case given.Used:
		return fmt.Errorf("%w: %s. Nothing was changed. foundation_changes is still replace, which has allowed an "+
			"earlier plan, and allows one only: start the daemon with apply, and again with replace if you want this",
			ErrFoundationChanges, strings.Join(found, "; "))
	case len(given.Harm) > 0 && !subset(found, given.Harm):
		return fmt.Errorf("%w: %s. Nothing was changed. foundation_changes has allowed another plan (%s): start the "+
			"daemon with apply, and again with replace if you want this", ErrFoundationChanges,
			strings.Join(found, "; "), strings.Join(given.Harm, "; "))
	}
	return nil
}

// spendAllowance records that an allowed plan was applied.
func spendAllowance(dir string) error {
	path := filepath.Join(dir, allowedFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var given allowance
	if err == nil {
		err = json.Unmarshal(content, &given)
	}
	if err != nil {
		return fmt.Errorf("review plan: %w", err)
	}
	given.Used = true
	return writeJSON(path, given)
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// harm returns what a plan would delete, replace, forget or shrink, and why. The service plan with the id adopted may
// be forgotten.
func harm(plan *tfjson.Plan, adopted string) (found []string) {
	for _, rc := range plan.ResourceChanges {
		if rc.Mode != tfjson.ManagedResourceMode || rc.Change == nil {
			continue
		}
		before, _ := rc.Change.Before.(map[string]any)
		after, _ := rc.Change.After.(map[string]any)
		what := rc.Address
		id, _ := before["id"].(string)
		if id != "" {
			what += " (" + id + ")"
		}
		actions := rc.Change.Actions
		switch {
		case actions.Replace():
			found = append(found, what+" would be deleted and created again"+replaceReason(rc, before, after))
		case actions.Delete():
			found = append(found, what+" would be deleted"+deleteReason(rc))
		case actions.Forget() && adopted != "" && strings.EqualFold(id, adopted):
		case actions.Forget():
			found = append(found, what+" would not be managed any more")
		case actions.Update():
			for _, how := range shrunk(before, after) {
				found = append(found, what+" would be changed: "+how)
			}
		}
	}
	return found
}

// replaceReason returns the attributes that force a replacement, with their values.
func replaceReason(rc *tfjson.ResourceChange, before, after map[string]any) string {
	var changes []string
	for _, path := range rc.Change.ReplacePaths {
		steps, _ := path.([]any)
		if len(steps) == 0 {
			continue
		}
		name := fmt.Sprint(steps[0])
		changes = append(changes, change(name, before[name], after[name]))
	}
	if len(changes) > 0 {
		return ", because Azure cannot change " + strings.Join(changes, ", ")
	}
	return reason(rc)
}

// deleteReason explains a deletion.
func deleteReason(rc *tfjson.ResourceChange) string {
	if rc.ActionReason == tfjson.ActionReasonDeleteBecauseCountIndex {
		return ", because the settings name an existing one to use instead"
	}
	return reason(rc)
}

func reason(rc *tfjson.ResourceChange) string {
	if rc.ActionReason == tfjson.ActionReasonNone {
		return ""
	}
	return " (" + strings.ReplaceAll(string(rc.ActionReason), "_", " ") + ")"
}

func change(name string, from, to any) string {
	if to == nil {
		return fmt.Sprintf("%s from %v", name, from)
	}
	return fmt.Sprintf("%s from %v to %v", name, from, to)
}

// shrunk returns the changes of attributes by which a resource gets smaller, keeps less, or leaves what it belongs to.
func shrunk(before, after map[string]any) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		from, to := before[name], after[name]
		smaller := false
		switch from := from.(type) {
		case float64:
			smaller = less(to, from)
		case json.Number:
			number, err := from.Float64()
			smaller = err == nil && less(to, number)
		case string:
			smaller = name == "sku_name" && from != to && !grows(from, fmt.Sprint(to)) ||
				name == "workspace_id" && to != nil && !strings.EqualFold(from, fmt.Sprint(to))
		case map[string]any:
			now, _ := to.(map[string]any)
			for key := range from {
				_, kept := now[key]
				smaller = smaller || !kept
			}
		}
		if smaller {
			found = append(found, change(name, from, to))
		}
	}
	return found
}

// less reports whether a number is lower than another one. In azurerm, -1 stands for no limit.
func less(number any, than float64) bool {
	var n float64
	switch number := number.(type) {
	case float64:
		n = number
	case json.Number:
		var err error
		if n, err = number.Float64(); err != nil {
			return false
		}
	default:
		return false
	}
	return n != -1 && (than == -1 || n < than)
}

// skuForm takes the SKU of a service plan apart: family, size, a letter for memory or isolation, and version.
var skuForm = regexp.MustCompile(`^([A-Z]+?)(\d+)([A-Z]*?)(?:V(\d))?$`)

// families ranks the families of SKUs whose service plans can be scaled into each other without harm to their apps.
var families = map[string]int{"F": 1, "D": 2, "B": 3, "S": 4, "P": 5}

// grows reports whether one SKU of a service plan can be scaled up to another.
func grows(from, to string) bool {
	a, b := skuForm.FindStringSubmatch(strings.ToUpper(from)), skuForm.FindStringSubmatch(strings.ToUpper(to))
	if a == nil || b == nil {
		return false
	}
	if a[1] != b[1] {
		return families[a[1]] > 0 && families[a[1]] < families[b[1]]
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text) // no version is the oldest
		return n
	}
	return number(b[4]) >= number(a[4]) && number(b[2]) >= number(a[2])
}
