package azuresim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func manyTags(n int) m {
	tags := m{}
	for i := range n {
		tags[fmt.Sprint("t", i)] = ""
	}
	return tags
}

func TestRequireTag(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("before")+webAPI, planBody("B1"))
	a.RequireTag("Team")
	a.RequireTag("cost")
	tagged := func(tags m) m {
		body := planBody("B1")
		body["tags"] = tags
		return body
	}
	for name, row := range map[string]struct {
		path string
		tags m
		n    int // tags that are named as missing
	}{
		"no tags":             {"p", nil, 2},
		"one of two":          {"p", m{"TEAM": ""}, 1},
		"one that was before": {"before", m{"team": "x"}, 1},
	} {
		got := a.arm("PUT", planPath(row.path)+webAPI, tagged(row.tags))
		content, err := json.Marshal(got.body["error"])
		if err != nil {
			t.Fatal(err)
		}
		if got.status != 403 || got.code != "RequestDisallowedByPolicy" || !strings.HasPrefix(got.message,
			"Resource '"+row.path+"' was disallowed by policy. Policy identifiers: '[{\"policyAssignment\":") ||
			strings.Count(string(content), `"path":"tags[`) != row.n {
			t.Errorf("%s: %d %s", name, got.status, content)
		}
	}
	a.must("PUT", planPath("p")+webAPI, tagged(m{"team": "", "Cost": "42"}))
	a.must("PUT", sitePath("x")+webAPI, func() m {
		body := a.siteBody("p", a.Registry()+"/app:1", nil)
		body["tags"] = m{"team": "x", "cost": "42"}
		return body
	}())
	a.must("PUT", sitePath("x")+"/config/connectionstrings"+webAPI, m{"properties": m{}})
	a.must("DELETE", planPath("before")+webAPI, nil)
}
