package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestAppSettings(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	got, err := appSettings([]string{
		"A=1", "A=2", "B=${x} %{if}\n\"", "UNSET", "C=", "D=a=b", "E_1.x=" + long,
		"WEBSITES_CONTAINER_START_TIME_LIMIT=600", "HTTP_PROXY=p:1", "http_proxy=p:1", "no_proxy=n", "NO_PROXY=n",
		"AzureWebJobsScriptRoot=/image", "F=image", "G=own", "G=image",
	}, []string{"AzureWebJobsScriptRoot=/image", "F=image", "G=image"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"A": "2", "B": "${x} %{if}\n\"", "C": "", "D": "a=b", "E_1.x": long,
		"WEBSITES_CONTAINER_START_TIME_LIMIT": "600", "http_proxy": "p:1", "no_proxy": "n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := appSettings([]string{"A=1", "a=2"}, nil); api.KindOf(err) != api.InvalidParameter {
		t.Errorf("names that differ in case: got %v", err)
	}
	for _, entry := range []string{
		"=x", "1A=x", "A-B=x", "Ä=x", "A B=x", "AZF_COMMAND=x", "azf_x=x", "FUNCTIONS_WORKER_RUNTIME=node",
		"AzureWebJobsStorage=x", "azurewebjobsstorage__accountName=x", "APPLICATIONINSIGHTS_CONNECTION_STRING=x",
		"DOCKER_REGISTRY_SERVER_URL=x", "WEBSITES_ENABLE_APP_SERVICE_STORAGE=true", "A=" + strings.Repeat("x", 128<<10),
		"A=\x00",
	} {
		if _, err := appSettings([]string{entry}, nil); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%.40q: got %v, want it refused", entry, err)
		}
	}
}
