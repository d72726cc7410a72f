package tfmodules

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resourceForm matches a managed resource with its count, if it has one, and its name.
var resourceForm = regexp.MustCompile(
	`(?m)^resource "(\w+)" "(\w+)" \{\n(?:  count +?= (?:var\.(\w+) == null \? 1 : 0)\n)?  name +?= (.+)$`)

// TestResourcesAreThoseOfTheModules compares the tables with the HCL beside them.
func TestResourcesAreThoseOfTheModules(t *testing.T) {
	for name, row := range map[string]struct {
		files  fs.FS
		listed []Resource
	}{
		"functionapp":        {FunctionApp(), FunctionAppResources()},
		"removal":            {Removal(), FunctionAppResources()},
		"serviceplan":        {ServicePlan(), ServicePlanResources()},
		"serviceplanremoval": {ServicePlanRemoval(), ServicePlanResources()},
		"foundation":         {Foundation(), FoundationResources()},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := fs.ReadFile(row.files, "main.tf")
			if err != nil {
				t.Fatal(err)
			}
			var want []Resource
			for _, m := range resourceForm.FindAllStringSubmatch(string(content), -1) {
				r := Resource{Address: m[1] + "." + m[2], Unless: m[3]}
				if r.Unless != "" {
					r.Address += "[0]"
				}
				switch rest, ok := strings.CutPrefix(m[4], `"${var.name}`); {
				case ok:
					r.Suffix = strings.TrimSuffix(rest, `"`)
				case m[4] != "var.name":
					t.Errorf("the name of %s is %s, which does not begin with the variable name", r.Address, m[4])
				}
				want = append(want, r)
			}
			if declared := strings.Count("\n"+string(content), "\nresource "); declared != len(want) {
				t.Errorf("the module declares %d resources, of which the test reads %d", declared, len(want))
			}
			got := row.listed
			for i := range got {
				if got[i].Type == "" {
					t.Errorf("%s has no type", got[i].Address)
				}
				got[i].Type = ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
