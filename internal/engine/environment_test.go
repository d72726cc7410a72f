package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

// holder returns a container of an image with a label for the handler's protocol, "" for none.
func holder(version string, env ...string) store.Container {
	c := store.Container{Config: api.Config{Env: env}, ImageConfig: &api.ImageConfig{}}
	c.ImageConfig.Env = []string{"PATH=/image", "AzureWebJobsScriptRoot=/image", "F=image", "G=image"}
	if version != "" {
		c.ImageConfig.Labels = map[string]string{protocol.Label: version}
	}
	return c
}

// decoded returns the spec in a container's settings.
func decoded(t *testing.T, s settings) protocol.Spec {
	t.Helper()
	spec, err := protocol.DecodeSpec(func(name string) string { return s.Handler[name] })
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestSpecEnvironment has the environment that only the spec can carry.
func TestSpecEnvironment(t *testing.T) {
	env := []string{
		"A=1", "A=2", "B=${x} %{if}\n\"\\$", "UNSET", "C=", "D=a=b", "HTTP_PROXY=p:1", "http_proxy=q:1", "my.setting=1",
		"my_setting=2", "my-var=x", "Ä ö=x", "HOME=/root", "PORT=3000", "WEBSITES_PORT=3000", "AzureWebJobsStorage=x",
		"WEBSITES_CONTAINER_START_TIME_LIMIT=600",
		"AZF_COMMAND=x", "G=own", "F=image", "PATH=/own", "K=@Microsoft.KeyVault(SecretUri=x)",
	}
	c := holder("2", append(env, "GONE=x", "GONE", "LONG="+strings.Repeat("x", maxVariable-5))...)
	c.Config.WorkingDir, c.Config.User, c.HostConfig.GroupAdd = "/work", "1000:ci", []string{"docker"}
	c.ImageConfig.Cmd = []string{"serve", "$PORT"}
	got, warnings, err := Settings{}.appSettings(c)
	free := map[string]string{"WEBSITES_CONTAINER_START_TIME_LIMIT": "600"}
	if err != nil || len(warnings) > 0 || !maps.Equal(got.Environment, free) {
		t.Errorf("got settings %v, warnings %q, %v", got.Environment, warnings, err)
	}
	want := protocol.Spec{
		Version: 1, Command: []string{"serve", "$PORT"}, WorkingDir: "/work", User: "1000:ci", Groups: []string{"docker"},
		Env: append([]string{"AzureWebJobsScriptRoot=/image", "F=image", "G=own", "A=2"}, slices.DeleteFunc(env,
			func(entry string) bool {
				return strings.HasPrefix(entry, "A=") || strings.HasPrefix(entry, "F=") || entry == "G=own" || entry == "UNSET"
			})...),
	}
	want.Env = append(want.Env, "LONG="+strings.Repeat("x", maxVariable-5))
	if diff := cmp.Diff(want, decoded(t, got)); diff != "" {
		t.Error(diff)
	}
	if slices.Contains(got.Names, "F") || !slices.Contains(got.Names, "HOME") || !slices.IsSorted(got.Names) {
		t.Errorf("names are %v", got.Names)
	}
	for _, entries := range [][]string{
		{"A=\x00"}, {"A=" + strings.Repeat("x", maxVariable)},
		slices.Collect(func(yield func(string) bool) {
			for n := 'a'; n <= 'f'; n++ {
				yield(string(n) + "=" + strings.Repeat("x", 100<<10))
			}
		}),
	} {
		if _, _, err := (Settings{}).appSettings(holder("2", entries...)); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%d variables, first %.40q: got %v, want it refused", len(entries), entries[0], err)
		}
	}
}

func TestPlainSettings(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	c := holder("", "A=1", "A=2", "B=x", "UNSET", "C=", "D=a=b", "E_1.x="+long,
		"WEBSITES_CONTAINER_START_TIME_LIMIT=600", "HTTP_PROXY=p:1", "http_proxy=p:1", "no_proxy=n", "NO_PROXY=n",
		"AzureWebJobsScriptRoot=/image", "F=image", "G=own", "G=image", "H=pa$$w0rd", "I=a\nb")
	got, warnings, err := Settings{}.appSettings(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"A": "2", "B": "x", "C": "", "D": "a=b", "E_1.x": long, "H": "pa$$w0rd", "I": "a\nb",
		"WEBSITES_CONTAINER_START_TIME_LIMIT": "600", "http_proxy": "p:1", "no_proxy": "n",
	}
	if diff := cmp.Diff(want, got.Environment); diff != "" {
		t.Error(diff)
	}
	if env := decoded(t, got).Env; !slices.Contains(env, "H=pa$$w0rd") || !slices.Contains(env, "HTTP_PROXY=p:1") {
		t.Errorf("the spec beside the settings has %.300q", env)
	}
	for i, names := range []string{"H, I: App Service may change", "E_1.x: App Service makes", "HTTP_PROXY, "} {
		if len(warnings) != 3 || !strings.Contains(warnings[i], names) || !strings.Contains(warnings[i], protocol.Label) {
			t.Errorf("warning %d is not of %q: %q", i, names, warnings)
		}
	}
	c = holder("1")
	c.Config.Cmd = []string{"sh", "-c", "echo $HOME"}
	if _, warnings, err := (Settings{}).appSettings(c); err != nil || len(warnings) != 1 ||
		!strings.Contains(warnings[0], "in the command") {
		t.Errorf("a command with $: got %q, %v", warnings, err)
	}
	for _, entries := range [][]string{
		{"1A=x"}, {"A-B=x"}, {"Ä=x"}, {"A B=x"}, {"AZF_COMMAND=x"}, {"azf_x=x"}, {"FUNCTIONS_WORKER_RUNTIME=node"},
		{"AzureWebJobsStorage=x"}, {"azurewebjobsstorage__accountName=x"}, {"APPLICATIONINSIGHTS_CONNECTION_STRING=x"},
		{"DOCKER_REGISTRY_SERVER_URL=x"}, {"DOCKER_CUSTOM_IMAGE_NAME=x"}, {"WEBSITES_ENABLE_APP_SERVICE_STORAGE=true"},
		{"HOME=/root"}, {"PORT=1"}, {"WEBSITES_PORT=1"}, {"WEBSITE_RUN_FROM_PACKAGE=1"}, {"WEBSITE_PLACEHOLDER_MODE=1"},
		{"LD_PRELOAD=x"}, {"PATH=/x"}, {"DOTNET_gcServer=1"}, {"COMPlus_x=1"}, {"CONTAINER_NAME=x"}, {"IDENTITY_ENDPOINT=x"},
		{"A=" + strings.Repeat("x", 128<<10)}, {"A=\x00"}, {"=x"}, {strings.Repeat("n", 54) + "=x"},
		{"A=1", "a=2"}, {"a.b=1", "a_b=1"}, {"A=@Microsoft.KeyVault(SecretUri=x)"}, {"A= @microsoft.appconfiguration(x)"},
		{"A=" + strings.Repeat("x", 100<<10), "B=" + strings.Repeat("x", 100<<10), "C=" + strings.Repeat("x", 100<<10)},
	} {
		if _, _, err := (Settings{}).appSettings(holder("", entries...)); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%.60q: got %v, want it refused", entries, err)
		}
	}
}

func TestKeyVaultReferences(t *testing.T) {
	const reference = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)"
	env := []string{"A=" + reference, "B=x " + reference, "C=@Microsoft.AppConfiguration(Endpoint=e; Key=k)"}
	for _, version := range []string{"", "2"} {
		got, _, err := Settings{KeyVaultReferences: true}.appSettings(holder(version, env...))
		if err != nil {
			t.Fatal(err)
		}
		spec := decoded(t, got)
		if spec.References["A"] != "AZF_REFERENCE_0" || spec.References["C"] != "AZF_REFERENCE_1" ||
			got.Handler["AZF_REFERENCE_0"] != reference || !slices.Contains(spec.Env, "B=x "+reference) {
			t.Errorf("protocol %q: got references %v in %v", version, spec.References, got.Handler)
		}
		if plain := got.Environment["A"] == reference; plain != (version == "") {
			t.Errorf("protocol %q: the settings are %v", version, got.Environment)
		}
	}
}

func TestHandlerLabel(t *testing.T) {
	for _, version := range []string{"3", "x", "0"} {
		_, _, err := Settings{}.appSettings(holder(version))
		if api.KindOf(err) != api.InvalidParameter || !strings.Contains(err.Error(), "versions 1 to 2") {
			t.Errorf("version %s: got %v", version, err)
		}
	}
	c := holder("")
	c.ImageConfig = nil
	got, _, err := Settings{}.appSettings(c)
	if err != nil || !decoded(t, got).PartialEnv {
		t.Errorf("an image that is not known: got %+v, %v", decoded(t, got), err)
	}
}

func TestImageHome(t *testing.T) {
	f := setup(t)
	f.registry.answers("a", 0, map[string]string{protocol.Label: "2"})
	for i, home := range []string{"", "/home", "/home/", "/root"} {
		f.registry.image.Spec.Config.Env = []string{"AzureWebJobsScriptRoot=/home/site/wwwroot"}
		if home != "" {
			f.registry.image.Spec.Config.Env = append(f.registry.image.Spec.Config.Env, "HOME="+home)
		}
		f.registry.image.ID = "sha256:" + hexID(fmt.Sprint(i))
		f.pull(t, "registry.example.com/team/app:1")
		res, err := f.ContainerCreate(t.Context(), "web", request)
		warned := home == "/root"
		if err != nil || len(res.Warnings) > 0 != warned || warned && !strings.Contains(res.Warnings[0], "HOME=/root") {
			t.Errorf("HOME=%s: got %q, %v", home, res.Warnings, err)
		}
		if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
			t.Fatal(err)
		}
	}
}
