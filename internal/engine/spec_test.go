package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

func TestImage(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for _, row := range []struct{ image, url, name, tag string }{
		{"myacr.azurecr.io/team/app:1.2", "https://myacr.azurecr.io", "team/app", "1.2"},
		{"myacr.azurecr.io/app", "https://myacr.azurecr.io", "app", "latest"},
		{"127.0.0.1:5000/app:1", "https://127.0.0.1:5000", "app", "1"},
		{"nginx", "https://index.docker.io", "library/nginx", "latest"},
		{"team/app:2", "https://index.docker.io", "team/app", "2"},
		{"r.io/app@sha256:" + digest, "https://r.io", "app@sha256", digest},
		{"r.io/app:1@sha256:" + digest, "https://r.io", "app@sha256", digest},
	} {
		var spec workspace.FunctionApp
		if err := testSettings().image(&spec, row.image); err != nil {
			t.Errorf("%s: %v", row.image, err)
		}
		if spec.RegistryURL != row.url || spec.ImageName != row.name || spec.ImageTag != row.tag || spec.RegistryUsesIdentity || spec.RegistryPassword != nil {
			t.Errorf("%s: got %+v", row.image, spec)
		}
	}
	for _, image := range []string{"", "UPPER", "a b", "app:", ":1", "r.io/app@sha256:12", "https://r.io/app", "${x}", "-a"} {
		if err := testSettings().image(&workspace.FunctionApp{}, image); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%q: got %v, want it refused", image, err)
		}
	}
}

func TestRegistryAccess(t *testing.T) {
	s := testSettings()
	s.Registry, s.Identity = "myacr.azurecr.io", &workspace.Identity{ID: "id", ClientID: "client"}
	var spec workspace.FunctionApp
	if err := s.image(&spec, "myacr.azurecr.io/app"); err != nil || !spec.RegistryUsesIdentity {
		t.Errorf("got %+v, %v; want the identity", spec, err)
	}
	spec = workspace.FunctionApp{}
	if err := s.image(&spec, "other.io/app"); err != nil || spec.RegistryUsesIdentity {
		t.Errorf("got %+v, %v; want another registry to get nothing", spec, err)
	}
	s.RegistryUsername, s.RegistryPassword = "u", "p"
	if err := s.image(&spec, "MYACR.azurecr.io/app"); err != nil || spec.RegistryUsesIdentity || *spec.RegistryUsername != "u" || *spec.RegistryPassword != "p" {
		t.Errorf("got %+v, %v; want the password", spec, err)
	}
}

func TestAppSettings(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	got, err := appSettings([]string{"A=1", "A=2", "B=${x} %{if}\n\"", "UNSET", "C=", "D=a=b", "E_1.x=" + long, "WEBSITES_CONTAINER_START_TIME_LIMIT=600"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "2", "B": "${x} %{if}\n\"", "C": "", "D": "a=b", "E_1.x": long, "WEBSITES_CONTAINER_START_TIME_LIMIT": "600"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, entry := range []string{
		"=x", "1A=x", "A-B=x", "Ä=x", "A B=x", "AZF_COMMAND=x", "azf_x=x", "FUNCTIONS_WORKER_RUNTIME=node", "AzureWebJobsStorage=x",
		"azurewebjobsstorage__accountName=x", "APPLICATIONINSIGHTS_CONNECTION_STRING=x", "DOCKER_REGISTRY_SERVER_URL=x",
		"WEBSITES_ENABLE_APP_SERVICE_STORAGE=true", "A=" + strings.Repeat("x", 128<<10), "A=\x00",
	} {
		if _, err := appSettings([]string{entry}); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%.40q: got %v, want it refused", entry, err)
		}
	}
}

func TestTags(t *testing.T) {
	labels := map[string]string{
		"team": "ci", "com.example.cost-center": "${42}", "Team": "second of one name", "a/b": "x", "": "x", "long": strings.Repeat("x", 64<<10),
		"SOCKERLESS-OWNER": "forged", strings.Repeat("n", 513): "x",
	}
	got, warnings := tags(labels)
	if len(warnings) != 6 {
		t.Errorf("got %d warnings, want 6: %q", len(warnings), warnings)
	}
	// "Team" sorts before "team", and Azure takes one of them.
	if diff := cmp.Diff(map[string]string{"Team": "second of one name", "com.example.cost-center": "${42}"}, got); diff != "" {
		t.Error(diff)
	}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprint("l", i)] = "x"
	}
	if got, warnings = tags(many); len(got)+3 != maxTags || len(warnings) != 13 {
		t.Errorf("got %d tags and %d warnings, want 47 beside our 3, and 13", len(got), len(warnings))
	}
}

func TestFunctionAppSpec(t *testing.T) {
	s := testSettings()
	c := store.Container{ID: strings.Repeat("a", 64), Name: "web", FunctionApp: "skls-" + strings.Repeat("a", 20)}
	c.Config = api.Config{Image: "r.io/app:1", Entrypoint: []string{"sh", "-c"}, Cmd: []string{"exit 3"}, WorkingDir: "/w", Labels: map[string]string{"team": "ci"}}
	spec, warnings, err := s.functionAppSpec(c, workspace.FoundationOutputs{ServicePlanID: "p", ServicePlanSKU: "B1", InsightsConnection: "i"})
	if err != nil || len(warnings) != 0 {
		t.Fatal(warnings, err)
	}
	if !slices.Equal(spec.Command, []string{"sh", "-c", "exit 3"}) || spec.WorkingDir != "/w" || !spec.AlwaysOn || spec.FunctionTimeout != "00:02:00" ||
		spec.ServicePlanID != "p" || spec.ApplicationInsightsConnectionString != "i" || spec.StorageAccountResourceGroupName != "rg" {
		t.Errorf("got %+v", spec)
	}
	if keys := slices.Sorted(maps.Keys(spec.Tags)); !slices.Equal(keys, []string{idTag, nameTag, ownerTag, "team"}) {
		t.Errorf("got tags %v", keys)
	}
	for sku, want := range map[string]struct {
		on      bool
		timeout string
	}{"EP1": {false, "01:01:00"}, "Y1": {false, "00:10:00"}, "P1v3": {true, "01:01:00"}, "WS1": {false, "01:01:00"}, "FC1": {false, "01:01:00"}} {
		s.Timeout = time.Hour
		spec, _, err := s.functionAppSpec(c, workspace.FoundationOutputs{ServicePlanSKU: sku})
		if err != nil || spec.AlwaysOn != want.on || spec.FunctionTimeout != want.timeout {
			t.Errorf("%s: got %v %s, %v", sku, spec.AlwaysOn, spec.FunctionTimeout, err)
		}
	}
}

func TestCreateRefusals(t *testing.T) {
	f := setup(t)
	f.create(t, "taken")
	config := func(change func(*api.CreateRequest)) api.CreateRequest {
		r := api.CreateRequest{Config: &api.Config{Image: "r.io/app:1"}, HostConfig: &api.HostConfig{}}
		change(&r)
		return r
	}
	for name, row := range map[string]struct {
		name string
		req  api.CreateRequest
		kind api.Kind
	}{
		"empty body":     {"", api.CreateRequest{}, api.InvalidParameter},
		"bad name":       {"-x", request, api.InvalidParameter},
		"one letter":     {"x", request, api.InvalidParameter},
		"name with /":    {"a/b", request, api.InvalidParameter},
		"name in use":    {"taken", request, api.Conflict},
		"name with / up": {"/taken", request, api.Conflict},
		"binds":          {"", config(func(r *api.CreateRequest) { r.HostConfig.Binds = []string{"/a:/b"} }), api.NotImplemented},
		"volumes":        {"", config(func(r *api.CreateRequest) { r.Volumes = map[string]struct{}{"/v": {}} }), api.NotImplemented},
		"privileged":     {"", config(func(r *api.CreateRequest) { r.HostConfig.Privileged = true }), api.NotImplemented},
		"reserved env":   {"", config(func(r *api.CreateRequest) { r.Env = []string{"AZF_COMMAND=[]"} }), api.InvalidParameter},
		"long command":   {"", config(func(r *api.CreateRequest) { r.Cmd = []string{strings.Repeat("x", 128<<10)} }), api.InvalidParameter},
	} {
		if _, err := f.ContainerCreate(t.Context(), row.name, row.req); err == nil || api.KindOf(err) != row.kind {
			t.Errorf("%s: got %v, want kind %d", name, err, row.kind)
		}
	}
	if list, err := f.db.Containers(t.Context(), 0); err != nil || len(list) != 1 {
		t.Errorf("got %d containers, %v; want the one", len(list), err)
	}
}

func TestConsumptionWarns(t *testing.T) {
	f := setup(t)
	f.cfg.Settings.ServicePlanSKU = ""
	res, err := f.ContainerCreate(t.Context(), "", request)
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "service_plan_sku") {
		t.Errorf("got %+v, %v; want a warning that says what to set", res, err)
	}
}

func TestSettings(t *testing.T) {
	if err := testSettings().check(); err != nil {
		t.Fatal(err)
	}
	id := "/subscriptions/s/resourceGroups/other/providers/Microsoft.Web/serverfarms/p"
	s := testSettings()
	s.AppServicePlan = id
	if f, err := s.foundationSpec(); err != nil || *f.ServicePlan != (workspace.Existing{Name: "p", ResourceGroupName: "other"}) {
		t.Errorf("got %+v, %v", f, err)
	}
	for name, change := range map[string]func(*Settings){
		"no group": func(s *Settings) { s.ResourceGroup = "" }, "no location": func(s *Settings) { s.Location = "" }, "no storage": func(s *Settings) { s.StorageAccount = "" },
		"no owner": func(s *Settings) { s.Owner = "" }, "long owner": func(s *Settings) { s.Owner = strings.Repeat("a", 25) }, "bad owner": func(s *Settings) { s.Owner = "A_b" },
		"no timeout": func(s *Settings) { s.Timeout = 0 }, "long timeout": func(s *Settings) { s.Timeout = 2 * time.Hour }, "odd timeout": func(s *Settings) { s.Timeout = 1500 * time.Millisecond },
		"bad plan": func(s *Settings) { s.AppServicePlan = "a/b" }, "bad storage": func(s *Settings) { s.StorageAccount = "/x" },
		"bad workspace": func(s *Settings) { s.LogAnalyticsWorkspace = "a/b" }, "bad insights": func(s *Settings) { s.ApplicationInsights = id + "/x" },
	} {
		s := testSettings()
		change(&s)
		if err := s.check(); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
