package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/policy"
)

var (
	root    = api.Requester{Kind: api.RequesterUnix, UID: new(uint32(0)), User: "root", Groups: []string{"root"}}
	member  = api.Requester{Kind: api.RequesterUnix, UID: new(uint32(7)), User: "ann", Groups: []string{"platform"}}
	holder  = api.Requester{Kind: api.RequesterMTLS, CommonName: "oncall.example.com", Names: []string{"ops.example.com"}}
	nobody  = api.Requester{Kind: api.RequesterTCP, Address: "192.0.2.1:4"}
	claimer = api.Requester{Kind: api.RequesterTCP, User: "root", UID: new(uint32(0)), CommonName: "oncall.example.com"}
)

// says returns the verdict of a set with this enforcement that denies with these messages.
func says(name string, enforcement policy.Enforcement, deny ...string) policy.Verdict {
	v := policy.Verdict{Set: policy.Set{
		Name: name, Enforcement: enforcement,
		Override: []string{"uid:0", "group:platform", "cn:oncall.example.com", "san:ops.example.com"},
	}}
	for i, text := range deny {
		v.Deny = append(v.Deny, policy.Message{Text: text, File: "a.rego", Line: i + 1})
	}
	return v
}

func failed(name string, enforcement policy.Enforcement) policy.Verdict {
	v := says(name, enforcement)
	v.Err = errors.New("a.rego:1: broken\nand more")
	return v
}

func asked(r api.Requester, reason string) Context {
	c := Context{Action: Create, Stage: string(policy.StagePlan), Requester: r}
	if reason != "" {
		c.Override = &api.PolicyOverride{Reason: reason}
	}
	return c
}

// decide is judge, with the sets that have answered.
func decide(asked Context, said []policy.Verdict, contact string) Decision {
	var all []policy.Set
	for _, v := range said {
		all = append(all, v.Set)
	}
	return judge(asked, said, all, contact)
}

const reason = "INC-42: production is down"

func TestDecision(t *testing.T) {
	request := asked(root, reason)
	request.Stage = string(policy.StageRequest)
	foundation := asked(root, "")
	foundation.Action = Foundation
	servicePlan := asked(root, "")
	servicePlan.Action = ServicePlan
	many := says("a", policy.Hard, "1", "2", "3", "4", "5", "6", "7")
	for name, row := range map[string]struct {
		asked Context
		said  []policy.Verdict
		kind  api.Kind
		want  string // the refusal, "" if there is none
		warns string
	}{
		"nothing": {asked: asked(nobody, ""), said: []policy.Verdict{says("a", policy.Hard)}},
		"no sets": {asked: asked(nobody, "")},
		"advisory": {asked: asked(nobody, ""), said: []policy.Verdict{says("a", policy.Advisory, "x")},
			warns: "policy a would refuse this if it was enforced: x (a.rego:1)"},
		"hard": {asked: asked(nobody, ""), said: []policy.Verdict{says("a", policy.Hard, "x")}, kind: api.Forbidden,
			want: "policy a refuses the plan: x (a.rego:1). Record 9; ask me"},
		"soft": {asked: asked(nobody, ""), said: []policy.Verdict{says("a", policy.Soft, "x")}, kind: api.Forbidden,
			want: "policy a refuses the plan: x (a.rego:1). These may override it (uid:0, group:platform, " +
				"cn:oncall.example.com, san:ops.example.com): --label sockerless-override=\"reason\". Record 9; ask me"},
		"two sets": {asked: asked(nobody, ""), kind: api.Forbidden,
			said: []policy.Verdict{says("a", policy.Hard, "x"), says("b", policy.Soft, "y")},
			want: "policy a refuses the plan: x (a.rego:1); policy b refuses the plan: y (a.rego:1). Record 9; ask me"},
		"many messages": {asked: asked(nobody, ""), said: []policy.Verdict{many, says("b", policy.Hard, "8")},
			kind: api.Forbidden,
			want: "policy a refuses the plan: 1 (a.rego:1); 2 (a.rego:2); 3 (a.rego:3); 4 (a.rego:4); 5 (a.rego:5); and 3 " +
				"more: sockerless-backend-azf audit show 9. Record 9; ask me"},
		"an error": {asked: asked(nobody, ""), said: []policy.Verdict{failed("a", policy.Hard)}, kind: api.Internal,
			want: "policy a cannot be evaluated: a.rego:1: broken and more. Record 9; ask me"},
		"an error and a denial": {asked: asked(nobody, ""), kind: api.Forbidden,
			said: []policy.Verdict{failed("a", policy.Hard), says("b", policy.Hard, "x")},
			want: "policy a cannot be evaluated: a.rego:1: broken and more; policy b refuses the plan: x (a.rego:1). " +
				"Record 9; ask me"},
		"an advisory error": {asked: asked(nobody, ""), said: []policy.Verdict{failed("a", policy.Advisory)},
			warns: "policy a cannot be evaluated: a.rego:1: broken and more"},
		"an override": {asked: asked(member, reason), said: []policy.Verdict{says("a", policy.Soft, "x")},
			warns: "policy a is overridden: x (a.rego:1)"},
		"an override of an error": {asked: asked(holder, reason), said: []policy.Verdict{failed("a", policy.Soft)},
			warns: "policy a cannot be evaluated: a.rego:1: broken and more"},
		"an override that nothing needs": {asked: asked(root, reason), said: []policy.Verdict{says("a", policy.Soft)}},
		"an override of a hard set": {asked: asked(root, reason), kind: api.Forbidden,
			said: []policy.Verdict{says("a", policy.Soft, "x"), says("b", policy.Hard, "y")},
			want: "policy b refuses the plan: y (a.rego:1). Record 9; ask me", warns: "policy a is overridden: x (a.rego:1)"},
		"an override where nothing is soft": {asked: asked(root, reason), kind: api.Forbidden,
			said: []policy.Verdict{says("b", policy.Hard)},
			want: "the label sockerless-override asks for an override, and root uid=0 pid=0 may override none of the " +
				"policies: remove the label. Record 9; ask me"},
		"an override by a stranger": {asked: asked(claimer, reason), kind: api.Forbidden,
			said: []policy.Verdict{says("a", policy.Soft)},
			want: "the label sockerless-override asks for an override, and  (unverified) may override none of the " +
				"policies: remove the label. Record 9; ask me"},
		"a short reason": {asked: asked(root, "x"), kind: api.Forbidden, said: []policy.Verdict{says("a", policy.Soft)},
			want: "the label sockerless-override gives the reason \"x\", which is shorter than 10 characters: say why. " +
				"Record 9; ask me"},
		"a request": {asked: request, said: []policy.Verdict{says("a", policy.Hard, "x"), says("b", policy.Soft)},
			kind: api.Forbidden, want: "policy a refuses the request: x (a.rego:1). Record 9"},
		"an override of a request": {asked: request, said: []policy.Verdict{says("a", policy.Soft, "x")},
			warns: "policy a is overridden: x (a.rego:1)"},
		"a service plan": {asked: servicePlan, said: []policy.Verdict{says("a", policy.Soft, "x")}, kind: api.Forbidden,
			want: "policy a refuses the plan of a service plan: x (a.rego:1). Record 9; ask me"},
		"the foundation": {asked: foundation, said: []policy.Verdict{says("a", policy.Soft, "x")}, kind: api.Forbidden,
			want: "policy a refuses the plan of what containers share: x (a.rego:1). Record 9; ask me"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(row.asked, row.said, "ask me")
			if got := strings.Join(d.Warnings(), "; "); got != row.warns {
				t.Errorf("warns %q, want %q", got, row.warns)
			}
			err := d.Err(9)
			if err == nil || row.want == "" {
				if (err == nil) != (row.want == "") {
					t.Errorf("got %v", err)
				}
				return
			}
			if text := err.Error(); !strings.HasPrefix(text, row.want) || api.KindOf(err) != row.kind {
				t.Errorf("got  %q (%d)\nwant %q (%d)", text, api.KindOf(err), row.want, row.kind)
			}
		})
	}
}

func TestMayOverride(t *testing.T) {
	for entry, who := range map[string][]api.Requester{
		"uid:0": {root}, "user:ann": {member}, "group:platform": {member}, "cn:oncall.example.com": {holder},
		"san:ops.example.com": {holder}, "uid:7": {member}, "user:": {}, "group:root": {root},
	} {
		for _, r := range []api.Requester{root, member, holder, nobody, claimer} {
			want := false
			for _, may := range who {
				want = want || fmt.Sprint(may) == fmt.Sprint(r)
			}
			if got := mayOverride(r, []string{"uid:99", entry}); got != want {
				t.Errorf("%s by %s: %v", entry, r, got)
			}
		}
	}
	for entry, fine := range map[string]bool{
		"uid:0": true, "user:a": true, "group:a": true, "cn:a": true, "san:a": true, "uid:root": false, "uid:": false,
		"root": false, "all:x": false, "": false, "uid:-1": false,
	} {
		if err := CheckOverride(entry); (err == nil) != fine {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

// TestMessagesArePlain: no rule can break a line of a log or a terminal.
func TestMessagesArePlain(t *testing.T) {
	bad := "a\nb\x1b[31m\u202ec\x00" + strings.Repeat("x", 2000)
	d := decide(asked(root, ""), []policy.Verdict{says("a", policy.Hard, bad)}, "")
	text := d.Reasons()
	if strings.ContainsAny(text, "\n\x1b\x00\u202e") || len([]rune(text)) > 1100 {
		t.Errorf("got %q", text)
	}
	var list []string
	for range 200 {
		list = append(list, "x")
	}
	d = decide(asked(root, ""), []policy.Verdict{says("a", policy.Hard, list...)}, "")
	if n := len(d.Verdicts[0].Deny); n != 101 {
		t.Errorf("%d messages are kept", n)
	}
}
