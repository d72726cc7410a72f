package engine

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/image"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestConformanceFinds shows what TestConformance reports.
func TestConformanceFinds(t *testing.T) {
	const route = "/images/json"
	found := findings{}
	for _, version := range []string{"1.43", "1.44"} {
		doc := readDocument(t, version)
		for _, answer := range []string{
			`[{"Id": "a", "ParentId": "", "RepoTags": [], "RepoDigests": [], "Created": 0, "Size": 0, "SharedSize": -1,
				"Labels": {}, "Containers": -1, "VirtualSize": 0}]`,
			`[{"ParentId": 3, "RepoTags": null, "RepoDigests": [null], "Created": 0.5, "Size": 9223372036854775808,
				"SharedSize": -1, "Labels": {"a": null}, "Containers": -1, "Descriptor": {}, "Other": 1,
				"AZF": {"Deep": [null]}}]`,
		} {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
			if err != nil {
				t.Fatal(err)
			}
			c := comparison{found: found, version: version, route: "GET " + route}
			c.compare(doc.schema(t, http.MethodGet, route, http.StatusOK), reflect.TypeFor[[]image.Summary](), value)
		}
	}
	unused := found.accept([]deviation{
		{route: "GET " + route, what: "null", paths: []string{"[].RepoTags", "[].Size"}},
		{route: "GET " + route, what: "null", since: 44, paths: []string{"[].RepoDigests[]"}, reason: "because"},
		{route: "GET " + route, what: "null", until: 42, paths: []string{"[].Labels{}"}, reason: "because"},
	})
	want := []string{
		"GET /images/json | [].AZF.Deep[] | null | 1.43-1.44",
		"GET /images/json | [].Created | got number, want integer | 1.43-1.44",
		"GET /images/json | [].Descriptor | moby does not send it in this version | 1.43-1.44",
		"GET /images/json | [].Id | missing, the document requires it | 1.43-1.44",
		"GET /images/json | [].Labels{} | null | 1.43-1.44",
		"GET /images/json | [].Other | neither in the document nor in moby's type | 1.43-1.44",
		"GET /images/json | [].ParentId | got number, want string | 1.43-1.44",
		"GET /images/json | [].RepoDigests[] | null | 1.43",
		"GET /images/json | [].Size | 9223372036854775808 is not valid int64: out of range | 1.43-1.44",
		"GET /images/json | [].VirtualSize | missing, moby always sends it | 1.43",
		"GET /images/json | [].VirtualSize | moby does not send it in this version | 1.44",
	}
	if diff := cmp.Diff(want, found.lines()); diff != "" {
		t.Error(diff)
	}
	if len(unused) != 2 {
		t.Errorf("got %q, want the two that match nothing", unused)
	}
}
