package engine

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

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
		if spec.RegistryURL != row.url || spec.ImageName != row.name || spec.ImageTag != row.tag ||
			spec.RegistryUsesIdentity || spec.RegistryPassword != nil {
			t.Errorf("%s: got %+v", row.image, spec)
		}
	}
	for _, image := range []string{
		"", "UPPER", "a b", "app:", ":1", "r.io/app@sha256:12", "https://r.io/app", "${x}", "-a",
	} {
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
	for suffix, uses := range map[string]bool{"azurecr.io": true, "azurecr.us": false, "": false} {
		spec, s.RegistrySuffix = workspace.FunctionApp{}, suffix
		if err := s.image(&spec, "Team.azurecr.io/app"); err != nil || spec.RegistryUsesIdentity != uses {
			t.Errorf("registries below %q: got %+v, %v", suffix, spec, err)
		}
	}
	s.RegistrySuffix = "azurecr.io"
	for image, uses := range map[string]bool{
		"team.azurecr.io.evil.example/app": false, "azurecr.io/app": false, "eviazurecr.io/app": false,
		"team.azurecr.io:443/app": true, "team.azurecr.io/app@sha256:" + strings.Repeat("a", 64): true,
	} {
		spec = workspace.FunctionApp{}
		if err := s.image(&spec, image); err != nil || spec.RegistryUsesIdentity != uses {
			t.Errorf("%s: got %+v, %v", image, spec, err)
		}
	}
	s.RegistryUsername, s.RegistryPassword = "u", "p"
	spec = workspace.FunctionApp{}
	if err := s.image(&spec, "MYACR.azurecr.io/app"); err != nil || spec.RegistryUsesIdentity ||
		*spec.RegistryUsername != "u" || *spec.RegistryPassword != "p" {
		t.Errorf("got %+v, %v; want the password", spec, err)
	}
	spec = workspace.FunctionApp{}
	err := s.image(&spec, "team.azurecr.io/app")
	if err != nil || !spec.RegistryUsesIdentity || spec.RegistryUsername != nil {
		t.Errorf("got %+v, %v; want the identity beside another registry's password", spec, err)
	}
}

func TestAnonymousPullIsWarnedOf(t *testing.T) {
	s := testSettings()
	s.RegistrySuffix, s.Registry = "azurecr.io", "private.example.com"
	warned := func(image string) bool {
		t.Helper()
		c := store.Container{ID: strings.Repeat("a", 64), Name: "web", FunctionApp: "skls-" + strings.Repeat("a", 20)}
		c.Config.Image = image
		_, warnings, err := s.functionAppSpec(c, store.ServicePlan{SKU: "B1"}, workspace.FoundationOutputs{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "anonymously") })
	}
	for image, want := range map[string]bool{
		"team.azurecr.io/app": true, "private.example.com/app": true, "alpine": false, "mcr.microsoft.com/app": false,
	} {
		if warned(image) != want {
			t.Errorf("%s: warned is %t", image, !want)
		}
	}
	s.RegistryUsername, s.RegistryPassword = "u", "p"
	if warned("private.example.com/app") || !warned("team.azurecr.io/app") {
		t.Error("a password is for its registry alone")
	}
	s.Identity = &workspace.Identity{ID: "id", ClientID: "client"}
	if warned("team.azurecr.io/app") {
		t.Error("warned although the identity pulls")
	}
}

func TestFunctionAppSpec(t *testing.T) {
	s := testSettings()
	c := store.Container{ID: strings.Repeat("a", 64), Name: "web", FunctionApp: "skls-" + strings.Repeat("a", 20)}
	c.Config = api.Config{
		Image: "r.io/app:1", Entrypoint: []string{"sh", "-c"}, Cmd: []string{"exit 3"}, WorkingDir: "/w",
		Labels: map[string]string{"team": "ci"},
	}
	outputs := workspace.FoundationOutputs{InsightsConnection: "i"}
	spec, warnings, err := s.functionAppSpec(c, store.ServicePlan{ResourceID: "p", SKU: "B1"}, outputs)
	if err != nil || len(warnings) != 0 {
		t.Fatal(warnings, err)
	}
	if !slices.Equal(spec.Command, []string{"sh", "-c", "exit 3"}) || spec.WorkingDir != "/w" || !spec.AlwaysOn ||
		spec.FunctionTimeout != "00:02:00" || spec.ServicePlanID != "p" ||
		spec.ApplicationInsightsConnectionString != "i" || spec.StorageAccountResourceGroupName != "rg" {
		t.Errorf("got %+v", spec)
	}
	if keys := slices.Sorted(maps.Keys(spec.Tags)); !slices.Equal(keys, []string{idTag, nameTag, ownerTag, "team"}) {
		t.Errorf("got tags %v", keys)
	}
	for sku, want := range map[string]struct {
		on      bool
		timeout string
	}{
		"EP1": {false, "01:01:00"}, "Y1": {false, "00:10:00"}, "P1v3": {true, "01:01:00"}, "WS1": {false, "01:01:00"},
		"FC1": {false, "01:01:00"},
	} {
		s.Timeout = time.Hour
		spec, _, err := s.functionAppSpec(c, store.ServicePlan{SKU: sku}, workspace.FoundationOutputs{})
		if err != nil || spec.AlwaysOn != want.on || spec.FunctionTimeout != want.timeout {
			t.Errorf("%s: got %v %s, %v", sku, spec.AlwaysOn, spec.FunctionTimeout, err)
		}
	}
}
