package azuresim_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

func TestPutServicePlanChecks(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	zones := m{"zoneRedundant": true}
	for name, row := range map[string]struct {
		sku        string
		capacity   int
		properties m
		status     int
		want       any // capacity, or the message
	}{
		"default":                 {"B1", 0, nil, 200, 1.0},
		"all of Basic":            {"B1", 3, nil, 200, 3.0},
		"too many of Basic":       {"B1", 4, nil, 400, "The parameter NumberOfWorkers has an invalid value."},
		"all of Standard":         {"S1", 10, nil, 200, 10.0},
		"too many of Standard":    {"S1", 11, nil, 400, "The parameter NumberOfWorkers has an invalid value."},
		"all of Premium":          {"P1v3", 30, nil, 200, 30.0},
		"too many of Premium":     {"P1v3", 31, nil, 400, "The parameter NumberOfWorkers has an invalid value."},
		"Consumption":             {"Y1", 0, nil, 200, 0.0},
		"zones":                   {"P1v3", 3, zones, 200, 3.0},
		"zones, default":          {"P1v3", 0, zones, 200, 2.0},
		"zones, one instance":     {"P1v3", 1, zones, 400, "The parameter NumberOfWorkers has an invalid value."},
		"zones, Basic":            {"B1", 3, zones, 400, "The parameter ZoneRedundant has an invalid value."},
		"zones, Consumption":      {"Y1", 0, zones, 200, 0.0},
		"an unknown SKU":          {"B9", 0, nil, 400, `The parameter SKU name has an invalid value "B9".`},
		"App Service Environment": {"I1v2", 0, nil, 501, "azuresim has no App Service Environments."},
	} {
		t.Run(name, func(t *testing.T) {
			body := planBody(row.sku)
			body["sku"].(m)["capacity"] = row.capacity
			maps.Copy(body["properties"].(m), row.properties)
			path := planPath(strings.ReplaceAll(name, " ", "-")) + webAPI
			result := a.arm("PUT", path, body)
			got := any(result.message)
			if result.status == http.StatusOK {
				got = result.body["sku"].(m)["capacity"]
				if again := a.must("GET", path, nil)["properties"].(m); again["numberOfWorkers"] != got ||
					again["currentNumberOfWorkers"] != got || again["status"] != "Ready" || again["numberOfSites"] != 0.0 {
					t.Errorf("properties %v", again)
				}
			}
			if result.status != row.status || got != row.want {
				t.Errorf("%d %v, want %d %v", result.status, got, row.status, row.want)
			}
		})
	}
	if err := a.Seed(planPath("ase"), planBody("I1v2")); err != nil {
		t.Errorf("seed a service plan of an App Service Environment: %v", err)
	}
}

func TestServicePlansOfAGroup(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	for n := range 100 {
		a.must("PUT", planPath(fmt.Sprint("p", n))+webAPI, planBody("B1"))
	}
	result := a.arm("PUT", planPath("one-more")+webAPI, planBody("EP1"))
	const message = "The maximum number of ServerFarms allowed in a Resource Group is 100."
	if result.status != http.StatusConflict || result.code != "Conflict" || result.message != message {
		t.Errorf("the 101st service plan: %d %s %s", result.status, result.code, result.message)
	}
	a.must("PUT", planPath("p7")+webAPI, planBody("B2"))
	a.AddResourceGroup("other-rg")
	other := strings.Replace(planPath("one-more"), azuresim.DefaultResourceGroup, "other-rg", 1)
	a.must("PUT", other+webAPI, planBody("B1"))
	a.must("DELETE", planPath("p7")+webAPI, nil)
	a.must("PUT", planPath("one-more")+webAPI, planBody("EP1"))
}

func TestSitesOfAnElasticServicePlan(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	for _, sku := range []string{"EP1", "B1"} {
		a.must("PUT", planPath(sku)+webAPI, planBody(sku))
	}
	site := func(sku string) m {
		return m{"location": "westeurope", "kind": "functionapp,linux", "properties": m{"serverFarmId": planPath(sku)}}
	}
	for n := range 100 {
		a.must("PUT", sitePath(fmt.Sprint("app", n))+webAPI, site("EP1"))
	}
	result := a.arm("PUT", sitePath("one-more")+webAPI, site("EP1"))
	if result.status != http.StatusConflict || !strings.Contains(result.message, "ElasticPremium ServerFarm is 100.") {
		t.Errorf("the 101st app: %d %s", result.status, result.message)
	}
	a.must("PUT", sitePath("app7")+webAPI, site("EP1"))
	a.must("PUT", sitePath("one-more")+webAPI, site("B1"))
	result = a.arm("PUT", sitePath("one-more")+webAPI, site("EP1"))
	if result.status != http.StatusConflict {
		t.Errorf("the 101st app, of another service plan before: %d", result.status)
	}
}

// TestServicePlansByAzurerm has azurerm create and change service plans: afterwards it sees what was configured.
func TestServicePlansByAzurerm(t *testing.T) {
	t.Parallel()
	tools := cloudtest.Tools(t)
	a := start(t, azuresim.Config{})
	dir := t.TempDir()
	env := append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, "cli"), "TF_IN_AUTOMATION=1",
		"GO_AZURE_SDK_SKIP_POLLING_DELAY=true")
	for name, value := range a.Access().TerraformEnv() {
		env = append(env, name+"="+value)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	terraform := func(args ...string) int {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tools.Terraform, append([]string{"-chdir=" + dir}, args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.ExitCode() == 2 {
			t.Logf("%s", out)
			return 2
		}
		if err != nil {
			t.Fatalf("terraform %q: %v\n%s", args, err, out)
		}
		return 0
	}
	const head = `
terraform {
  required_providers { azurerm = { source = "hashicorp/azurerm" } }
}
provider "azurerm" {
  features {}
  resource_provider_registrations = "none"
}`
	plan := func(name, rest string) string {
		return fmt.Sprintf(`
resource "azurerm_service_plan" %q {
  name                = %[1]q
  resource_group_name = %q
  location            = "westeurope"
  os_type             = "Linux"
  %s
}
`, name, azuresim.DefaultResourceGroup, rest)
	}
	write("cli", tools.CLIConfig())
	for i, plans := range []string{
		plan("basic", `sku_name = "B1"`) +
			plan("app", "sku_name = \"P1v3\"\nper_site_scaling_enabled = true\nworker_count = 2") +
			plan("elastic", "sku_name = \"EP1\"\nmaximum_elastic_worker_count = 5") +
			plan("auto", "sku_name = \"P0v4\"\npremium_plan_auto_scale_enabled = true\nmaximum_elastic_worker_count = 4") +
			plan("zones", "sku_name = \"P1mv3\"\nzone_balancing_enabled = true\nworker_count = 3"),
		plan("basic", "sku_name = \"B2\"\nworker_count = 3\ntags = { a = \"b\" }") +
			plan("app", "sku_name = \"P2v3\"\nper_site_scaling_enabled = false\nworker_count = 4") +
			plan("elastic", "sku_name = \"EP2\"\nmaximum_elastic_worker_count = 7\nworker_count = 2") +
			plan("auto", "sku_name = \"P0v4\"\npremium_plan_auto_scale_enabled = false\nmaximum_elastic_worker_count = 1") +
			plan("zones", "sku_name = \"P1mv3\"\nzone_balancing_enabled = false\nworker_count = 1"),
	} {
		write("main.tf", head+plans)
		if i == 0 {
			terraform("init", "-input=false")
		}
		terraform("apply", "-auto-approve", "-input=false")
		if terraform("plan", "-detailed-exitcode", "-input=false") != 0 {
			t.Errorf("round %d: azurerm sees a difference", i)
		}
	}
	for name, want := range map[string]m{
		"basic": {"numberOfWorkers": 3.0}, "app": {"perSiteScaling": false, "numberOfWorkers": 4.0},
		"elastic": {"maximumElasticWorkerCount": 7.0}, "auto": {"elasticScaleEnabled": false},
		"zones": {"zoneRedundant": false},
	} {
		properties := a.must("GET", planPath(name)+webAPI, nil)["properties"].(m)
		for key, value := range want {
			if properties[key] != value {
				t.Errorf("%s has %s %v, want %v", name, key, properties[key], value)
			}
		}
	}
	terraform("destroy", "-auto-approve", "-input=false")
}
