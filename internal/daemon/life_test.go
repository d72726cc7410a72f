package daemon_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
)

// TestOnlyTerraformChangesAzure takes the journey of a demo, and then reads the requests that the simulator got.
func TestOnlyTerraformChangesAzure(t *testing.T) {
	p := newPlayground(t)
	report := demo.NewReport(io.Discard, true)
	if err := demo.Journey(t.Context(), report, p.Client, p.image, false, p.sim.Sites); err != nil {
		t.Fatal(err)
	}
	p.stop()
	writes, ours := 0, 0
	runs := map[string]bool{}
	for _, c := range p.sim.Calls() {
		if c.Service != "arm" {
			continue
		}
		byTerraform := strings.Contains(c.UserAgent, "terraform-provider-azurerm")
		if byTerraform {
			runs[c.CorrelationID] = true
		}
		switch {
		case c.Method == http.MethodGet:
		case !byTerraform && c.Method == http.MethodPost &&
			strings.HasSuffix(strings.ToLower(c.Path), "/host/default/listkeys"):
			ours++ // reads the host key
		case byTerraform:
			writes++
		default:
			t.Errorf("%s %s came from %q", c.Method, c.Path, c.UserAgent)
		}
	}
	if writes == 0 || ours == 0 {
		t.Errorf("saw %d writes and %d key reads: the test looks at nothing", writes, ours)
	}
	// One correlation id each for service plan, foundation, create and destroy.
	if delete(runs, ""); len(runs) != 4 {
		t.Errorf("saw correlation ids %v, want 4", runs)
	}
	for _, kind := range []string{"apply", "destroy"} {
		paths, err := filepath.Glob(filepath.Join(p.stateDir(), "workspaces/archive/*/operations/*-"+kind, "operation.json"))
		if err != nil || len(paths) != 1 {
			t.Fatalf("found %v, %v", paths, err)
		}
		content, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		var verdict struct {
			ID string `json:"correlation_id"`
		}
		if err := json.Unmarshal(content, &verdict); err != nil || !runs[verdict.ID] {
			t.Errorf("the verdict names %q, %v; Azure saw %v", verdict.ID, err, runs)
		}
	}
}

// life is the life of one container. TestContainersTheWholeWay takes its parts in order.
type life struct {
	*playground
	id string
	// nasty is a string that Terraform or a shell could take for something else, and long is one of the greatest length
	// that Azure takes.
	nasty, long string
}

func TestContainersTheWholeWay(t *testing.T) {
	l := life{
		playground: newPlayground(t), nasty: "${x} %{if} $${y} \"q\" \\ 'a'\nsecond line", long: strings.Repeat("x", 64<<10),
	}
	l.id = l.create(t, "first", api.Config{
		Cmd: []string{"hello", "-exit", "3", l.nasty}, Env: []string{"GREETING=" + l.nasty, "LONG=" + l.long},
		Labels: map[string]string{"plain": "v", "nasty": l.nasty, "long": l.long},
	})
	t.Run("it is found in Azure", l.foundInAzure)
	t.Run("strings arrive unchanged", l.stringsUnchanged)
	t.Run("a start can be repeated", l.startedAgain)
	t.Run("the next daemon knows it", l.knownToTheNextDaemon)
	t.Run("lines come from Log Analytics when there are too many", l.manyLines)
	t.Run("a refused create leaves nothing", l.refusedCreate)
	t.Run("state that was lost is not taken for none", l.lostState)
	t.Run("the archive keeps files and no secret in readable plans", l.archive)
}

func (l life) foundInAzure(t *testing.T) {
	azure, err := daemon.AzureView(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	const sites = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" +
		azuresim.DefaultResourceGroup + "/providers/Microsoft.Web/sites/"
	app, found, err := azure.Find(t.Context(), sites+"skls-"+l.id[:20])
	if err != nil || !found || app.Tags["sockerless-container-id"] != l.id || app.Tags["plain"] != "v" ||
		app.ID != sites+"skls-"+l.id[:20] {
		t.Errorf("got %+v, %v, %v", app, found, err)
	}
	if _, found, err := azure.Find(t.Context(), sites+"skls-none"); err != nil || found {
		t.Errorf("another name: got %v, %v", found, err)
	}
	apps, err := azure.FunctionApps(t.Context(), azuresim.DefaultResourceGroup)
	if err != nil || len(apps) != 1 || !maps.Equal(apps[0].Tags, app.Tags) {
		t.Errorf("got %+v, %v", apps, err)
	}
}

func (l life) stringsUnchanged(t *testing.T) {
	l.must(t, http.MethodPost, "/containers/first/start", nil, nil)
	var res api.WaitResponse
	l.must(t, http.MethodPost, "/containers/first/wait", nil, &res)
	if res.StatusCode != 3 || res.Error != nil {
		t.Errorf("got %+v, want exit code 3", res)
	}
	stream, err := l.Raw(t.Context(), "/containers/first/logs?stdout=1")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := demo.Demultiplex(stream)
	if err != nil || strings.ReplaceAll(strings.Join(lines, "\n"), "stdout: ", "") != l.nasty+", "+l.nasty+"!" {
		t.Errorf("got %q, %v", lines, err)
	}
}

func (l life) startedAgain(t *testing.T) {
	l.must(t, http.MethodPost, "/containers/first/start", nil, nil)
	l.must(t, http.MethodPost, "/containers/first/wait", nil, nil)
}

func (l life) knownToTheNextDaemon(t *testing.T) {
	l.stop()
	l.start()
	var info api.InspectResponse
	l.must(t, http.MethodGet, "/containers/"+l.id[:12], nil, &info)
	if info.ID != l.id || info.State.ExitCode != 3 || info.Config.Labels["nasty"] != l.nasty || info.AZF.TraceID == "" {
		t.Errorf("got %+v", info)
	}
	var list []api.Summary
	l.must(t, http.MethodGet, "/containers?all=1", nil, &list)
	if len(list) != 1 || list[0].State != "exited" {
		t.Errorf("got %+v", list)
	}
}

func (l life) manyLines(t *testing.T) {
	// 40,000 lines of 30 bytes do not fit into the answer.
	l.create(t, "many", api.Config{Cmd: []string{"/bin/sh", "-c", "seq -f 'line %.0f of very many lines' 40000"}})
	l.must(t, http.MethodPost, "/containers/many/start", nil, nil)
	l.must(t, http.MethodPost, "/containers/many/wait", nil, nil)
	stream, err := l.Raw(t.Context(), "/containers/many/logs?stdout=1&stderr=1")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := demo.Demultiplex(stream)
	if err != nil || len(lines) != 40000 || lines[0] != "stdout: line 1 of very many lines" ||
		lines[39999] != "stdout: line 40000 of very many lines" {
		t.Errorf("got %d lines, %v", len(lines), err)
	}
	l.must(t, http.MethodDelete, "/containers/many", nil, nil)
}

func (l life) refusedCreate(t *testing.T) {
	before := l.sim.Sites()
	l.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{
		{Method: http.MethodPut, Path: sitePath, Status: http.StatusForbidden, Code: "AuthorizationFailed"},
	}})
	err := l.Call(t.Context(), http.MethodPost, "/containers?name=refused", l.createRequest(), nil)
	l.sim.SetFaults(azuresim.Faults{})
	if !answered(err, http.StatusForbidden) || !strings.Contains(err.Error(), "AuthorizationFailed") {
		t.Errorf("got %v, want Azure's reason", err)
	}
	if err := l.Call(t.Context(), http.MethodGet, "/containers/refused", nil, nil); !answered(err, http.StatusNotFound) {
		t.Errorf("got %v, want it gone", err)
	}
	if after := l.sim.Sites(); !slices.Equal(before, after) {
		t.Errorf("function apps were %v and are %v", before, after)
	}
}

func (l life) lostState(t *testing.T) {
	state := filepath.Join(l.stateDir(), "workspaces/containers", l.id, "terraform.tfstate")
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	l.must(t, http.MethodDelete, "/containers/first", nil, nil)
	if len(l.sim.Sites()) != 0 {
		t.Errorf("function apps left: %v", l.sim.Sites())
	}
}

func (l life) archive(t *testing.T) {
	dir := filepath.Join(l.stateDir(), "workspaces/archive", l.id)
	for _, name := range []string{
		"main.tf", ".terraform.lock.hcl", "operations/0001-apply/operation.json",
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "operations/*/*.json*"))
	if err != nil || len(kept) < 8 {
		t.Errorf("got %v, %v", kept, err)
	}
	for _, name := range kept {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{l.long[:1000], "AccountKey=", "InstrumentationKey="} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s holds %.20s", name, secret)
			}
		}
	}
	err = filepath.WalkDir(l.stateDir(), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		// The files that terraform init creates hold no secret and lie in a closed folder.
		if err == nil && !strings.Contains(path, "/.terraform/") && info.Mode()&(os.ModeSymlink|os.ModeSocket) == 0 &&
			info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	p := newPlayground(t)
	_, err := daemon.New(t.Context(), p.cfg)
	if err == nil || !strings.Contains(err.Error(), "in use by another daemon") {
		t.Errorf("got %v, want a refusal", err)
	}
}
