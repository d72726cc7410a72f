package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/sockerless/backend-azf/"

// owned are the module paths behind the names in README's column "Sole owner of".
var owned = map[string]string{
	"azidentity": "github.com/Azure/azure-sdk-for-go/sdk/azidentity", "echo": "github.com/labstack/echo/", "moby": "github.com/moby/moby/",
	"river": "github.com/riverqueue/river", "modernc": "modernc.org/sqlite", "pgx": "github.com/jackc/pgx/", "terraform-exec": "github.com/hashicorp/terraform-exec/",
	"terraform-json": "github.com/hashicorp/terraform-json", "armappservice": "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/",
	"azquery": "github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery", "hc-install": "github.com/hashicorp/hc-install",
	"go-containerregistry": "github.com/google/go-containerregistry/",
	"armresources":         "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources",
	"go-yaml":              "github.com/goccy/go-yaml", "levenshtein": "github.com/agext/levenshtein", "go-systemd": "github.com/coreos/go-systemd/",
	"grpc": "google.golang.org/grpc", "go-plugin": "github.com/hashicorp/go-plugin", "hcl": "github.com/hashicorp/hcl/",
	"clockwork": "github.com/jonboulle/clockwork",
}

type row struct {
	all     bool
	imports []string
	owns    []string
}

// structure reads the table from the README.
func structure(t *testing.T) map[string]row {
	t.Helper()
	content, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(content), "\n## Structure\n")
	if !ok {
		t.Fatal("README has no section Structure")
	}
	rows := map[string]row{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || !strings.HasPrefix(strings.TrimSpace(cells[0]), "`") {
			continue
		}
		var r row
		r.all = strings.TrimSpace(cells[2]) == "all"
		for name := range strings.SplitSeq(cells[2], ",") {
			r.imports = append(r.imports, strings.Trim(name, " `"))
		}
		for name := range strings.SplitSeq(cells[3], ",") {
			if name = strings.TrimSpace(name); name != "nothing" {
				r.owns = append(r.owns, name)
			}
		}
		rows[strings.Trim(cells[0], " `")] = r
	}
	return rows
}

// violations are the imports that the table does not allow.
func violations(rows map[string]row, imports map[string][]string) (found []string) {
	for pkg, list := range imports {
		r, ok := rows[pkg]
		if !ok {
			found = append(found, pkg+" is not in the table")
			continue
		}
		for _, path := range list {
			if ours, ok := strings.CutPrefix(path, modulePath); ok && !r.all && !slices.Contains(r.imports, ours) {
				found = append(found, pkg+" imports "+ours)
			}
			for name, prefix := range owned {
				if strings.HasPrefix(path, prefix) && !slices.Contains(r.owns, name) {
					found = append(found, pkg+" imports "+path)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestImportsFollowTheTable(t *testing.T) {
	rows := structure(t)
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
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
	for _, v := range violations(rows, imports) {
		t.Error(v)
	}
	for pkg := range rows {
		if _, ok := imports[pkg]; !ok {
			t.Errorf("the table names %s, which is not there", pkg)
		}
	}
	for name := range owned {
		if !slices.ContainsFunc(slices.Collect(func(yield func(row) bool) {
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		}), func(r row) bool { return slices.Contains(r.owns, name) }) {
			t.Errorf("nobody owns %s", name)
		}
	}
}

func TestViolationsAreFound(t *testing.T) {
	rows := map[string]row{"a": {imports: []string{"b"}, owns: []string{"echo"}}, "b": {imports: []string{"nothing"}}, "all": {all: true}}
	got := violations(rows, map[string][]string{
		"a": {"fmt", modulePath + "b", "github.com/labstack/echo/v4"}, "b": {modulePath + "a", "modernc.org/sqlite"}, "c": nil, "all": {modulePath + "a"},
	})
	if want := []string{"b imports a", "b imports modernc.org/sqlite", "c is not in the table"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
