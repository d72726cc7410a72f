package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/policy"
)

// conftestFlag is given by make conftest.
var conftestFlag = flag.Bool("conftest", false, "have conftest itself say what testdata/conftest expects")

// conftest is the program whose verdicts count.
const conftest = "github.com/open-policy-agent/conftest@v0.71.1"

// conftestResult is what conftest prints for one file.
type conftestResult struct {
	Warnings   []conftestMessage `json:"warnings"`
	Failures   []conftestMessage `json:"failures"`
	Exceptions []conftestMessage `json:"exceptions"`
}

type conftestMessage struct {
	Msg string `json:"msg"`
}

// TestConftest: policies of conftest have the verdicts that conftest gives. Each folder of testdata/conftest has
// policies (with data beside them), an input and conftest's answer to it. One whose name ends in -v0 is Rego v0.
func TestConftest(t *testing.T) {
	dirs, err := filepath.Glob("testdata/conftest/*/input.json")
	if err != nil || len(dirs) < 8 {
		t.Fatalf("%d cases, %v", len(dirs), err)
	}
	for _, input := range dirs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			version := "v1"
			if strings.HasSuffix(dir, "-v0") {
				version = "v0"
			}
			if *conftestFlag {
				askConftest(t, dir, version)
			}
			answer, err := os.ReadFile(filepath.Join(dir, "answer.json"))
			if err != nil {
				t.Fatal(err)
			}
			var results []conftestResult
			if err := json.Unmarshal(answer, &results); err != nil || len(results) != 1 {
				t.Fatalf("%d results, %v", len(results), err)
			}
			content, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			v := ask(t, string(content), policy.Set{Name: "c", Path: filepath.Join(dir, "policy"), Rego: version})[0]
			if v.Err != nil {
				t.Fatal(v.Err)
			}
			for what, lists := range map[string][2][]string{
				"denied": {messages(v.Deny), theirs(results[0].Failures)},
				"warned": {messages(v.Warn), theirs(results[0].Warnings)},
			} {
				if diff := cmp.Diff(lists[1], lists[0]); diff != "" {
					t.Errorf("%s, conftest - ours +:\n%s", what, diff)
				}
			}
			if len(v.Exceptions) != len(results[0].Exceptions) {
				t.Errorf("exceptions: %q, conftest has %d", v.Exceptions, len(results[0].Exceptions))
			}
			for _, m := range append(v.Deny, v.Warn...) {
				if m.File == "" || m.Line == 0 {
					t.Errorf("%q has no place", m.Text)
				}
			}
		})
	}
}

// messages returns texts in order.
func messages(list []policy.Message) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, m.Text)
	}
	slices.Sort(out)
	return out
}

func theirs(list []conftestMessage) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, m.Msg)
	}
	slices.Sort(out)
	return out
}

// askConftest writes conftest's answer about an input.
func askConftest(t *testing.T, dir, version string) {
	t.Helper()
	cmd := exec.Command("go", "run", conftest, "test", "--output", "json", "--rego-version", version,
		"--policy", "policy", "--data", "policy", "input.json")
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	// It ends with status 1 when something is refused.
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1 || out.Len() == 0) {
		t.Fatalf("%v: %s", err, &errOut)
	}
	if err := os.WriteFile(filepath.Join(dir, "answer.json"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
