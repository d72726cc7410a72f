package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/policy"
)

// program writes a script and returns a set that asks it.
func program(t *testing.T, script string) policy.Set {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scan")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return policy.Set{Name: "scan", Command: []string{path, "argument"}}
}

func TestCommand(t *testing.T) {
	for name, row := range map[string]struct {
		script, want string
	}{
		"allow":           {script: "exit 0"},
		"a verdict":       {script: `echo '{"deny": ["a", "b"], "warn": ["c"]}'`, want: "deny a; deny b; warn c"},
		"an empty one":    {script: `echo '{}'`},
		"status, verdict": {script: `echo '{"deny": ["a"]}'; exit 3`, want: "deny a"},
		"status 1":        {script: "echo no tag; echo really >&2; exit 1", want: "deny no tag really"},
		"status 1, mute":  {script: "exit 1", want: "deny scan gives no reason"},
		"status 2":        {script: "echo broken >&2; exit 2", want: "error PATH: exit status 2: broken"},
		"a signal":        {script: "kill -9 $$", want: "error PATH: signal: killed"},
		"status without denial": {
			script: `echo '{"warn": ["a"]}'; exit 1`, want: "error PATH: exit status 1, and it denies nothing: ",
		},
		"another form": {
			script: `echo '{"denied": ["a"]}'`,
			want:   `error PATH: its answer is not {"deny": ["..."], "warn": ["..."]}: json: unknown field "denied"`,
		},
		"broken JSON": {
			script: `echo '{"deny": ['`,
			want:   `error PATH: its answer is not {"deny": ["..."], "warn": ["..."]}: unexpected EOF`,
		},
		"the input":            {script: `grep -q '"name":"web"' && exit 0; exit 1`},
		"its arguments":        {script: `test "$1" = argument && exit 0; exit 1`},
		"an empty environment": {script: `/usr/bin/env | /bin/grep -v '^\(PWD\|SHLVL\|_\)=' && exit 1; exit 0`},
		"its folder":           {script: `test "$(pwd)" = / && exit 0; exit 1`},
		"much output": {
			script: "/usr/bin/head -c 2000000 /dev/zero; exit 1", want: "error PATH: its answer is longer than 1048576 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := program(t, row.script)
			got := said(ask(t, `{"name": "web"}`, s)[0])
			if want := strings.ReplaceAll(row.want, "PATH", s.Command[0]); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestCommandDoesNotReadItsInput: a program may decide without it, however long it is.
func TestCommandDoesNotReadItsInput(t *testing.T) {
	input := `{"name": "` + strings.Repeat("x", 1<<20) + `"}`
	if got := said(ask(t, input, program(t, "exec <&-; echo '{\"deny\": [\"a\"]}'"))[0]); got != "deny a" {
		t.Errorf("got %q", got)
	}
}

// TestCommandTimeout: its children end with it.
func TestCommandTimeout(t *testing.T) {
	left := filepath.Join(t.TempDir(), "left")
	s := program(t, "(/bin/sleep 1000; echo >"+left+") & echo $! >"+left+".pid; wait")
	s.Timeout = 200 * time.Millisecond
	got := said(ask(t, "{}", s)[0])
	if !strings.HasPrefix(got, "error it took longer than its timeout of 200ms: ") {
		t.Errorf("got %q", got)
	}
	pid, err := os.ReadFile(left + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("a child of the program lives: %s", stat)
	}
}

// TestChangedCommand: a program that is another one than the digest says is not asked.
func TestChangedCommand(t *testing.T) {
	s := program(t, "exit 0")
	rules, err := policy.Load(t.Context(), []policy.Set{s})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Command[0], []byte("#!/bin/sh\nexit 0 # longer\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := said(rules.Decide(t.Context(), question(t, "{}"))[0]); !strings.Contains(got, "reload the policies") {
		t.Errorf("got %q", got)
	}
	again, err := policy.Load(t.Context(), []policy.Set{s})
	if err != nil || again.Digest() == rules.Digest() {
		t.Errorf("got %q, %v", again.Digest(), err)
	}
}

func TestCommandMistakes(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]policy.Set{
		"absolute path":         {Command: []string{"scan"}},
		"no such file":          {Command: []string{"/gone"}},
		"is not a program":      {Command: []string{plain}},
		"query: a command":      {Command: []string{"/bin/true"}, Query: "data.x"},
		"rego: a command":       {Command: []string{"/bin/true"}, Rego: "v1"},
		"there is no plan of a": {Command: []string{"/bin/true"}, On: []string{"start"}},
		"a path or a command":   {},
		"/bin is not a program": {Command: []string{"/bin"}},
		"verify_key: a command": {Command: []string{"/bin/true"}, VerifyKey: "/x"},
		"package: a command":    {Command: []string{"/bin/true"}, Package: "main"},
	} {
		s.Name = "scan"
		if _, err := policy.Load(t.Context(), []policy.Set{s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
