package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// FuzzCreate: a create body is not valid JSON, gets a refusal that a client can do something about, or describes a
// function app.
func FuzzCreate(f *testing.F) {
	settings := testSettings()
	f.Fuzz(func(t *testing.T, body []byte) {
		var req api.CreateRequest
		if json.Unmarshal(body, &req) != nil {
			return
		}
		c := requested(strings.Repeat("a", 64), "n", req)
		e := &Engine{cfg: Config{Settings: settings}}
		if _, err := e.validate(c); err != nil {
			if kind := api.KindOf(err); kind != api.InvalidParameter && kind != api.NotImplemented {
				t.Fatalf("got %v of kind %d", err, kind)
			}
			return
		}
		spec, _, err := settings.functionAppSpec(c, store.ServicePlan{SKU: "B1"}, workspace.FoundationOutputs{})
		if err != nil {
			t.Fatalf("validated, but %v", err)
		}
		if spec.Tags[idTag] != c.ID || spec.Tags[ownerTag] != settings.Owner || len(spec.Tags) > maxTags ||
			spec.Command == nil || spec.ImageName == "" || spec.ImageTag == "" ||
			!strings.HasPrefix(spec.RegistryURL, "https://") {
			t.Fatalf("got %+v", spec)
		}
		for name := range spec.Environment {
			if strings.HasPrefix(strings.ToUpper(name), "AZF_") {
				t.Fatalf("the reserved setting %s is set", name)
			}
		}
		if _, err := json.Marshal(spec); err != nil {
			t.Fatal(err)
		}
	})
}
