package worker

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

func TestVariables(t *testing.T) {
	long := strings.Repeat("n", 60)
	got := variables(map[string]string{
		"DOC": `pa\$\$w0rd\\`, "RAW": `pa$$w0rd\`, "NAME": "a$HOME/b", "QUOTES": `["a\"b"]`, "OTHER": `\d+`, "END": "$",
		"my.setting": "1", long: "2",
	})
	want := map[string]string{
		"DOC": `pa$$w0rd\`, "RAW": `paw0rd\`, "NAME": "a/b", "QUOTES": `["a"b"]`, "OTHER": `\d+`, "END": "$",
		"my_setting": "1", long[:53]: "2",
	}
	for name, value := range want {
		want["APPSETTING_"+name] = value
	}
	for name := range want {
		if strings.HasPrefix(name, "APPSETTING_APPSETTING_") {
			delete(want, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSettingsThatChangeTheHost has settings that make an app fail on Azure.
func TestSettingsThatChangeTheHost(t *testing.T) {
	for entry, want := range map[string]string{
		"WEBSITES_PORT=3000": "HTTP pings on port: 3000", "PORT=3000": "HTTP pings on port",
		"WEBSITE_RUN_FROM_PACKAGE=1": "hides wwwroot", "CONTAINER_NAME=web": "crashes",
	} {
		t.Run(entry, func(t *testing.T) {
			f := setup(t, func(_ map[string]string, cfg *Config) {
				name, value, _ := strings.Cut(entry, "=")
				cfg.Settings[name] = value
			})
			f.said(want)
			f.work.Wait()
			if w := f.do("GET", "/", "", ""); w.Code != 503 {
				t.Errorf("got %d, want 503", w.Code)
			}
		})
	}
}

// TestTheContainersProcesses have what App Service gives, and no capability that Docker does not give.
func TestTheContainersProcesses(t *testing.T) {
	azuretest.NeedsIsolation(t, container.Supported)
	f := setup(t, func(_ map[string]string, cfg *Config) {
		cfg.Settings["TOKEN"], cfg.Platform = "of-the-app", map[string]string{"IDENTITY_HEADER": "of-the-platform"}
	}).up()
	var seen struct{ Env, Capabilities []string }
	if err := json.Unmarshal(f.do("GET", "/api/echo/1", "default", "").Body.Bytes(), &seen); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TOKEN=of-the-app", "APPSETTING_TOKEN=of-the-app", "IDENTITY_HEADER=of-the-platform"} {
		if !slices.Contains(seen.Env, want) {
			t.Errorf("the handler lacks %s", want)
		}
	}
	if !slices.Contains(seen.Capabilities, "CapBnd:\t00000000a80425fb") {
		t.Errorf("the handler's capabilities are not Docker's: %q", seen.Capabilities)
	}
}
