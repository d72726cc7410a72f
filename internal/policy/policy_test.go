package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/policy"
)

// folder writes the files of a set and returns the folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// set returns a set with one file of rules.
func set(t *testing.T, rego string) policy.Set {
	t.Helper()
	return policy.Set{Name: "house", Path: folder(t, map[string]string{"main.rego": rego})}
}

// ask loads sets and asks them about the create of a plan.
func ask(t *testing.T, input string, sets ...policy.Set) []policy.Verdict {
	t.Helper()
	rules, err := policy.Load(t.Context(), sets)
	if err != nil {
		t.Fatal(err)
	}
	return rules.Decide(t.Context(), question(t, input))
}

func question(t *testing.T, input string) policy.Question {
	t.Helper()
	q := policy.Question{Stage: policy.StagePlan, Action: "create", Time: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)}
	dec := json.NewDecoder(strings.NewReader(input))
	dec.UseNumber()
	if err := dec.Decode(&q.Input); err != nil {
		t.Fatal(err)
	}
	return q
}

// said returns the answer of one set in few words.
func said(v policy.Verdict) string {
	var words []string
	for _, m := range v.Deny {
		words = append(words, "deny "+m.String())
	}
	for _, m := range v.Warn {
		words = append(words, "warn "+m.String())
	}
	for _, rule := range v.Exceptions {
		words = append(words, "except "+rule)
	}
	if v.Err != nil {
		words = append(words, "error "+v.Err.Error())
	}
	return strings.Join(words, "; ")
}

func TestForms(t *testing.T) {
	for name, row := range map[string]struct {
		rego, want string
		set        policy.Set
	}{
		"deny":    {rego: "package main\n\ndeny contains msg if { msg := input.name }", want: "deny web (main.rego:3)"},
		"nothing": {rego: "package main\ndeny contains msg if { msg := input.missing }"},
		"several of one name, with the place of each": {
			rego: "package main\ndeny contains \"a\" if true\ndeny contains msg if { msg := sprintf(\"%d\", [input.n]) }",
			want: "deny 7 (main.rego:3); deny a (main.rego:2)",
		},
		"violation with a suffix, and metadata": {
			rego: "package main\nviolation_tags contains {\"msg\": m, \"level\": 3} if { m := concat(\" \", [\"no\", \"t\"]) }",
			want: "deny no t (main.rego:2)",
		},
		"warn": {rego: "package main\nwarn_cost contains \"dear\" if input.n > 5", want: "warn dear (main.rego:2)"},
		"an exception of a name": {
			rego: "package main\ndeny_a contains \"a\" if true\ndeny_b contains \"b\" if true\n" +
				"exception contains rules if { input.name == \"web\"; rules := [\"a\"] }",
			want: "deny b (main.rego:3); except deny_a",
		},
		"an exception of plain rules": {
			rego: "package main\ndeny contains \"a\" if true\nexception contains [\"\"] if true", want: "except deny",
		},
		"an exception that does not hold": {
			rego: "package main\ndeny contains \"a\" if true\nexception contains [\"\"] if input.name == \"db\"",
			want: "deny a (main.rego:2)",
		},
		"a whole list": {
			rego: "package main\ndeny := [\"a\", \"b\"]", want: "deny a (main.rego:2); deny b (main.rego:2)",
		},
		"a whole list, and not now": {rego: "package main\ndeny := [\"a\"] if input.name == \"db\""},
		"an empty message": {
			rego: "package main\ndeny contains \"\" if true", want: "deny (the rule deny gives an empty message) (main.rego:2)",
		},
		"a number": {rego: "package main\ndeny contains 7 if true", want: "deny 7 (main.rego:2)"},
		"an object without msg": {
			rego: "package main\ndeny contains {\"text\": \"a\"} if true",
			want: "error deny gives an object without a string msg",
		},
		"another package": {
			rego: "package team.rules\ndeny contains \"a\" if true", set: policy.Set{Package: "team.rules"},
			want: "deny a (main.rego:2)",
		},
		"rego v0": {
			rego: "package main\ndeny[msg] { msg := input.name }", set: policy.Set{Rego: "v0"}, want: "deny web (main.rego:2)",
		},
		"a query": {
			rego: "package terraform.policies.tags\nimport input.plan as tfplan\n" +
				"deny contains msg if { msg := tfplan.name }",
			set: policy.Set{Query: "data.terraform.policies.tags.deny"}, want: "deny web (main.rego:3)",
		},
		"a query that gives objects": {
			rego: "package p\ndeny contains {\"id\": 1} if true", set: policy.Set{Query: "data.p.deny"},
			want: "deny {\"id\":1} (main.rego:2)",
		},
		"a query without a value": {
			rego: "package p\ndeny := [\"a\"] if input.name == \"db\"", set: policy.Set{Query: "data.p.deny"},
			want: "error data.p.deny has no value for this input: give it a default, or make it a set",
		},
		"a query that gives no list": {
			rego: "package p\nallow if input.name == \"web\"", set: policy.Set{Query: "data.p.allow"},
			want: "error data.p.allow is no list of messages for this input",
		},
		"the time is the question's": {
			rego: "package main\ndeny contains time.format(time.now_ns()) if true",
			want: "deny 2026-11-25T00:00:00Z (main.rego:2)",
		},
		"a rule that fails": {
			rego: "package main\ndeny contains msg if { msg := to_number(input.name) }",
			want: "error main.rego:2: eval_builtin_error: to_number: strconv.ParseFloat: ...",
		},
		"rules that contradict each other": {
			rego: "package main\nx := 1 if true\nx := 2 if true\ndeny contains \"a\" if x == 1",
			want: "error main.rego:3: eval_conflict_error: rule data.main.x ...",
		},
		"an endless rule": {
			rego: "package main\ndeny contains \"a\" if { some i in numbers.range(1, 100000)\n" +
				"some j in numbers.range(1, 100000)\ni * j == -1 }",
			set:  policy.Set{Timeout: 50 * time.Millisecond},
			want: "error it took longer than its timeout of 50ms: ...",
		},
		"a function of that name is not a rule": {
			rego: "package main\ndeny_if(x) := x\ndeny contains deny_if(\"a\") if true", want: "deny a (main.rego:3)",
		},
		"a schema from the network": {
			rego: "package main\ndeny contains \"a\" if " +
				"json.match_schema({}, {\"$ref\": \"http://127.0.0.1:9/schema.json\"})[0]",
			want: "error main.rego:2: eval_builtin_error: json.match_schema: ...",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, row.rego)
			row.set.Name, row.set.Path = s.Name, s.Path
			got := ask(t, `{"name": "web", "n": 7, "plan": {"name": "web"}}`, row.set)
			if len(got) != 1 {
				t.Fatalf("%d sets have answered", len(got))
			}
			text := said(got[0])
			if begin, ok := strings.CutSuffix(row.want, " ..."); ok && strings.HasPrefix(text, begin) {
				return
			}
			if text != row.want {
				t.Errorf("got  %q\nwant %q", text, row.want)
			}
		})
	}
}

// TestMistakes: a set that would refuse nothing by mistake is not loaded.
func TestMistakes(t *testing.T) {
	for name, row := range map[string]struct {
		rego string
		set  policy.Set
		want []string
	}{
		"a misspelt package": {
			rego: "package mian\ndeny contains \"a\" if true",
			want: []string{"policies.house: no rule deny, violation or warn in package main", "package mian"},
		},
		"a misspelt rule": {rego: "package main\ndenied contains \"a\" if true", want: []string{"no rule deny"}},
		"if without contains": {
			rego: "package main\n\ndeny if input.x", want: []string{"main.rego:3", "deny contains msg if"},
		},
		"a default":     {rego: "package main\ndefault deny := false", want: []string{"main.rego:2", "deny contains msg if"}},
		"a string":      {rego: "package main\ndeny := \"a\" if true", want: []string{"main.rego:2"}},
		"a partial map": {rego: "package main\ndeny[\"a\"] := 1 if true", want: []string{"main.rego:2"}},
		"v1 as v0, brackets": {
			rego: "package main\ndeny[msg] if { msg := \"a\" }", want: []string{"main.rego:2", "deny contains msg if"},
		},
		"v0 syntax": {
			rego: "package main\ndeny[msg] { msg := \"a\" }", want: []string{"main.rego:2", "set rego: v0"},
		},
		"v1 syntax": {
			rego: "package main\ndeny contains \"a\" if true", set: policy.Set{Rego: "v0"},
			want: []string{"main.rego:2", "set rego: v1"},
		},
		"no Rego at all": {rego: "package main\ndeny contains {", want: []string{"main.rego:", "rego_parse_error"}},
		"an empty file":  {rego: "", want: []string{"main.rego"}},
		"an unknown name": {
			rego: "package main\ndeny contains x if true", want: []string{"main.rego:2: rego_unsafe_var_error"},
		},
		"network": {
			rego: "package main\ndeny contains http.send({\"method\": \"get\", \"url\": input.x}).body if true",
			want: []string{"main.rego:2", "http.send", "rules have no network"},
		},
		"environment": {rego: "package main\ndeny contains opa.runtime().env.HOME if true", want: []string{"opa.runtime"}},
		"names": {
			rego: "package main\ndeny contains net.lookup_ip_addr(\"x\")[_] if true", want: []string{"net.lookup_ip_addr"},
		},
		"randomness": {rego: "package main\ndeny contains rand.intn(\"x\", 3) if true", want: []string{"rand.intn"}},
		"an id":      {rego: "package main\ndeny contains uuid.rfc4122(\"x\") if true", want: []string{"uuid.rfc4122"}},
		"a query of no rule": {
			rego: "package p\ndeny contains \"a\" if true", set: policy.Set{Query: "data.q.deny"},
			want: []string{"query: there is no rule data.q.deny"},
		},
		"a query of another form": {
			rego: "package p\ndeny contains \"a\" if true", set: policy.Set{Query: "count(data.p.deny)"},
			want: []string{"query: "},
		},
		"a version": {rego: "package main", set: policy.Set{Rego: "v2"}, want: []string{"rego: \"v2\": use v1 or v0"}},
		"a start without rules for it": {
			rego: "package main\ndeny contains \"a\" if true", set: policy.Set{On: []string{"start"}},
			want: []string{"on: ", "package sockerless.request"},
		},
		"a key without a bundle": {
			rego: "package main\ndeny contains \"a\" if true", set: policy.Set{VerifyKey: "/key.pem"},
			want: []string{"verify_key"},
		},
		"a command, too": {
			rego: "package main", set: policy.Set{Command: []string{"/bin/true"}}, want: []string{"a path or a command"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, row.rego)
			row.set.Name, row.set.Path = s.Name, s.Path
			rules, err := policy.Load(t.Context(), []policy.Set{row.set})
			if err == nil {
				t.Fatalf("loaded %+v", rules.Sets())
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

// TestEachMistakeIsReported, of all sets.
func TestEachMistakeIsReported(t *testing.T) {
	one, two := set(t, "package mian"), set(t, "package main\ndeny if true")
	one.Name, two.Name = "one", "two"
	_, err := policy.Load(t.Context(), []policy.Set{one, two})
	if err == nil || !strings.Contains(err.Error(), "policies.one: ") || !strings.Contains(err.Error(), "policies.two: ") {
		t.Errorf("got %v", err)
	}
	gone := policy.Set{Name: "gone", Path: filepath.Join(t.TempDir(), "gone")}
	if _, err := policy.Load(t.Context(), []policy.Set{gone}); err == nil {
		t.Error("a folder that is not there was loaded")
	}
}

func TestDataFiles(t *testing.T) {
	dir := folder(t, map[string]string{
		"main.rego": "package main\ndeny contains msg if { some msg in data.names }\n" +
			"deny contains msg if { msg := data.team.limits.text }",
		"names.yaml":        "names: [a]",
		"team/limits.json":  `{"limits": {"text": "b"}}`,
		".git/data.json":    "this is hidden",
		"README.md":         "this is no data",
		"main_test.rego":    "package main\nthis is not loaded",
		"team/..data/x.yml": "[hidden",
	})
	got := ask(t, "{}", policy.Set{Name: "house", Path: dir})
	if text := said(got[0]); text != "deny a (main.rego:2); deny b (main.rego:3)" {
		t.Errorf("got %q", text)
	}
	for name, content := range map[string]string{
		"more.json": `{"names": ["c"]}`, "list.yaml": "[a]", "bad.json": "{", "main.json": `{"main": {"deny": 1}}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Load(t.Context(), []policy.Set{{Name: "house", Path: dir}}); err == nil {
			t.Errorf("%s was loaded", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDigest: it depends on rules, data and settings, and not on the place.
func TestDigest(t *testing.T) {
	files := map[string]string{"main.rego": "package main\ndeny contains \"a\" if true", "data.yaml": "a: 1"}
	digest := func(files map[string]string, change func(*policy.Set)) string {
		t.Helper()
		s := policy.Set{Name: "house", Path: folder(t, files)}
		change(&s)
		rules, err := policy.Load(t.Context(), []policy.Set{s})
		if err != nil {
			t.Fatal(err)
		}
		return rules.Digest()
	}
	same := digest(files, func(*policy.Set) {})
	if !strings.HasPrefix(same, "sha256:") || len(same) != len("sha256:")+64 {
		t.Errorf("got %q", same)
	}
	with := maps.Clone(files)
	with["main_test.rego"], with["README.md"] = "package main", "text"
	defaults := func(s *policy.Set) { s.Enforcement, s.Rego, s.Package = policy.Hard, "v1", "main" }
	if got := digest(with, defaults); got != same {
		t.Errorf("tests, other files and defaults count: %q", got)
	}
	for name, change := range map[string]func(*policy.Set){
		"enforcement": func(s *policy.Set) { s.Enforcement = policy.Soft },
		"on":          func(s *policy.Set) { s.On = []string{"create"} },
		"timeout":     func(s *policy.Set) { s.Timeout = time.Minute },
		"override":    func(s *policy.Set) { s.Override = []string{"uid:0"} },
		"name":        func(s *policy.Set) { s.Name = "other" },
	} {
		if digest(files, change) == same {
			t.Errorf("%s does not count", name)
		}
	}
	for name := range files {
		other := maps.Clone(files)
		other[name] += "\n# changed"
		if digest(other, func(*policy.Set) {}) == same {
			t.Errorf("%s does not count", name)
		}
	}
	none, err := policy.Load(t.Context(), nil)
	if err != nil || none.Digest() != "" || none.Concerned(policy.StagePlan, "create") {
		t.Errorf("without sets: %q, %v", none.Digest(), err)
	}
}

// TestConcerned: sets are asked on their actions, and at the stages that they have rules for.
func TestConcerned(t *testing.T) {
	both := "package main\ndeny contains \"a\" if true"
	request := "package sockerless.request\ndeny contains \"a\" if true"
	for name, row := range map[string]struct {
		files map[string]string
		on    []string
		want  string
	}{
		"by default": {files: map[string]string{"a.rego": both}, want: "plan create, plan foundation, plan service-plan"},
		"with requests": {
			files: map[string]string{"a.rego": both, "b.rego": request},
			want: "plan create, plan foundation, plan service-plan, request create, request pull, request remove, " +
				"request start",
		},
		"requests alone": {
			files: map[string]string{"b.rego": request},
			want:  "request create, request pull, request remove, request start",
		},
		"on remove": {files: map[string]string{"a.rego": both}, on: []string{"remove"}, want: "plan remove"},
		"on start, with request": {
			files: map[string]string{"a.rego": both, "b.rego": request}, on: []string{"start", "create"},
			want: "plan create, request create, request start",
		},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := policy.Load(t.Context(), []policy.Set{{Name: "house", Path: folder(t, row.files), On: row.on}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, stage := range []policy.Stage{policy.StagePlan, policy.StageRequest} {
				actions := []string{"create", "start", "remove", "pull"}
				if stage == policy.StagePlan {
					actions = []string{"create", "foundation", "service-plan", "remove", "gc"}
				}
				for _, action := range actions {
					asked := rules.Decide(t.Context(), policy.Question{Stage: stage, Action: action, Input: map[string]any{}})
					if rules.Concerned(stage, action) != (len(asked) == 1) {
						t.Errorf("%s %s: %v", stage, action, asked)
					}
					if len(asked) == 1 {
						got = append(got, fmt.Sprint(stage, " ", action))
					}
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, ", "); text != row.want {
				t.Errorf("got  %s\nwant %s", text, row.want)
			}
		})
	}
}

func TestInterruptedQuestion(t *testing.T) {
	rules, err := policy.Load(t.Context(), []policy.Set{set(t, "package main\ndeny contains \"a\" if "+
		"{ some i in numbers.range(1, 100000)\nsome j in numbers.range(1, 100000)\ni * j == -1 }")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := rules.Decide(ctx, question(t, "{}"))[0]; v.Err == nil || strings.Contains(v.Err.Error(), "timeout") {
		t.Errorf("got %v", v.Err)
	}
}

func TestTests(t *testing.T) {
	rules := "package main\ndeny contains \"a\" if input.x == 1"
	for name, row := range map[string]struct {
		test, out, err string
	}{
		"pass": {
			test: "package main\ntest_a if { deny[\"a\"] with input as {\"x\": 1} }",
			out:  "ok     main_test.rego:2: main.test_a",
		},
		"fail": {
			test: "package main\ntest_a if { deny[\"b\"] with input as {\"x\": 1} }",
			out:  "FAILED main_test.rego:2: main.test_a", err: "1 of 1 tests failed",
		},
		"none": {test: "package main", err: "there are no tests"},
		"bad":  {test: "package main\ntest_a if { x }", err: "main_test.rego:2: rego_unsafe_var_error"},
		"error": {
			test: "package main\ntest_a if { to_number(\"x\") }", out: "eval_builtin_error", err: "1 of 1 tests failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			dir := folder(t, map[string]string{"main.rego": rules, "main_test.rego": row.test})
			err := policy.Test(t.Context(), policy.Set{Name: "house", Path: dir}, &out)
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) ||
				!strings.Contains(out.String(), row.out) {
				t.Errorf("got %q, %v", out.String(), err)
			}
			if errors.Is(err, policy.ErrTests) != strings.HasSuffix(row.err, "failed") {
				t.Errorf("%v", err)
			}
		})
	}
}
