package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/sockerless/backend-azf/"

// owned has the module path behind each name that an entry of the list owns.
var owned = map[string]string{
	"azidentity":           "github.com/Azure/azure-sdk-for-go/sdk/azidentity",
	"echo":                 "github.com/labstack/echo/",
	"moby":                 "github.com/moby/moby/",
	"river":                "github.com/riverqueue/river",
	"modernc":              "modernc.org/sqlite",
	"pgx":                  "github.com/jackc/pgx/",
	"opa":                  "github.com/open-policy-agent/opa/",
	"x/mod":                "golang.org/x/mod/",
	"terraform-exec":       "github.com/hashicorp/terraform-exec/",
	"terraform-json":       "github.com/hashicorp/terraform-json",
	"armappservice":        "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/",
	"azblob":               "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob",
	"azquery":              "github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery",
	"hc-install":           "github.com/hashicorp/hc-install",
	"go-containerregistry": "github.com/google/go-containerregistry/",
	"armresources":         "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources",
	"go-yaml":              "github.com/goccy/go-yaml",
	"levenshtein":          "github.com/agext/levenshtein",
	"go-systemd":           "github.com/coreos/go-systemd/",
	"grpc":                 "google.golang.org/grpc",
	"go-plugin":            "github.com/hashicorp/go-plugin",
	"hcl":                  "github.com/hashicorp/hcl/",
	"clockwork":            "github.com/jonboulle/clockwork",
	"cobra":                "github.com/spf13/cobra",
	"pflag":                "github.com/spf13/pflag",
}

// entry is one package of the list.
type entry struct {
	all     bool
	imports []string
	owns    []string
}

// Forms of an entry of the list: "`package`: what it does. Imports `other`. Owns library."
var (
	packageForm = regexp.MustCompile("^`([^`]+)`: ")
	importsForm = regexp.MustCompile(`\. Imports ([^.]+)\.`)
	ownsForm    = regexp.MustCompile(`\. Owns ([^.]+)\.$`)
)

// structure reads the list of packages.
func structure(t *testing.T) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	for _, item := range items(section(t, "architecture.md", "Packages")) {
		name := packageForm.FindStringSubmatch(item)
		if name == nil {
			t.Errorf("this entry names no package: %s", item)
			continue
		}
		var e entry
		if imports := importsForm.FindStringSubmatch(item); imports != nil {
			e.all = imports[1] == "all"
			e.imports = strings.Split(strings.ReplaceAll(imports[1], "`", ""), ", ")
		}
		if owns := ownsForm.FindStringSubmatch(item); owns != nil {
			e.owns = strings.Split(owns[1], ", ")
		}
		imports, owns := strings.Contains(item, " Imports "), strings.Contains(item, " Owns ")
		if imports != (e.imports != nil) || owns != (e.owns != nil) {
			t.Errorf("the last sentences of this entry are not of the form `Imports A, B. Owns C.`: %s", item)
		}
		if _, twice := entries[name[1]]; twice {
			t.Errorf("%s has two entries", name[1])
		}
		entries[name[1]] = e
	}
	return entries
}

// violations returns the imports that the list does not allow.
func violations(entries map[string]entry, imports map[string][]string) (found []string) {
	for pkg, list := range imports {
		e, ok := entries[pkg]
		if !ok {
			found = append(found, pkg+" is not in the list")
			continue
		}
		for _, path := range list {
			if ours, ok := strings.CutPrefix(path, modulePath); ok && !e.all && !slices.Contains(e.imports, ours) {
				found = append(found, pkg+" imports "+ours)
			}
			for name, prefix := range owned {
				if strings.HasPrefix(path, prefix) && !slices.Contains(e.owns, name) {
					found = append(found, pkg+" imports "+path)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestImportsFollowTheList(t *testing.T) {
	entries := structure(t)
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		imports[strings.TrimPrefix(pkg.ImportPath, modulePath)] = pkg.Imports
	}
	for _, v := range violations(entries, imports) {
		t.Error(v)
	}
	unowned := maps.Clone(owned)
	for pkg, e := range entries {
		if _, ok := imports[pkg]; !ok {
			t.Errorf("the list names %s, which is not there", pkg)
		}
		for _, name := range e.owns {
			if _, ok := owned[name]; !ok {
				t.Errorf("%s owns %s, whose module path this test does not know", pkg, name)
			}
			delete(unowned, name)
		}
	}
	for name := range unowned {
		t.Errorf("nobody owns %s", name)
	}
}

func TestViolationsAreFound(t *testing.T) {
	entries := map[string]entry{"a": {imports: []string{"b"}, owns: []string{"echo"}}, "b": {}, "all": {all: true}}
	got := violations(entries, map[string][]string{
		"a": {"fmt", modulePath + "b", "github.com/labstack/echo/v4"}, "b": {modulePath + "a", "modernc.org/sqlite"},
		"c": nil, "all": {modulePath + "a"},
	})
	if want := []string{"b imports a", "b imports modernc.org/sqlite", "c is not in the list"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
