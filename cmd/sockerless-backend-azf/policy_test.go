package main

import (
	"database/sql"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestExamplePolicy runs the tests of the example policy.
func TestExamplePolicy(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"policy", "test", "--policy", "../../examples/policy"}, nil, &out, io.Discard)
	if err != nil || strings.Contains(out.String(), "FAILED") || strings.Count(out.String(), "ok ") < 10 {
		t.Errorf("got %v\n%s", err, &out)
	}
}

// TestPolicyMistakes: they have exit status 2, and say what to do.
func TestPolicyMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"policy test":                "there are no policies",
		"policy check":               "give a plan or a container",
		"policy check a --existing":  "give a plan or a container",
		"policy check --archive":     "give a plan or a container",
		"policy input":               "container's id or name",
		"policy test --policy /gone": "no such file",
		"plan --apply":               "--apply and --digest belong together",
		"plan --digest x":            "--apply and --digest belong together",
		"policy test --policy .":     "no rules",
	} {
		err := run(t.Context(), strings.Fields(args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || command.ExitStatus(err) != 2 {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestServeRefusesPolicies before it does anything that takes long.
func TestServeRefusesPolicies(t *testing.T) {
	err := run(t.Context(), []string{
		"serve", "--subscription-id", "00000000-0000-0000-0000-000000000000", "--resource-group", "g", "--location", "x",
		"--storage-account", "abc", "--service-plan-sku", "B1", "--state-dir", t.TempDir(),
		"--policy", filepath.Join(t.TempDir(), "gone"),
	}, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "policies.default") || command.ExitStatus(err) != 2 {
		t.Errorf("got %v", err)
	}
}

// TestPolicyCheckOfAnOlderRelease: the database of a daemon that knew no policies is refused with what to do.
func TestPolicyCheckOfAnOlderRelease(t *testing.T) {
	dir := trailOf(t)
	db, err := sql.Open("sqlite", daemon.DatabasePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "ALTER TABLE containers DROP COLUMN policy; PRAGMA user_version = 13")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"check web", "check --existing", "input web"} {
		args = "policy " + args + " --policy ../../examples/policy --state-dir " + dir
		err := run(t.Context(), strings.Fields(args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "start a daemon of this release once, which migrates it") {
			t.Errorf("%s: got %v", args, err)
		}
	}
	if _, status, err := audited(t, dir, "verify"); status != 0 {
		t.Errorf("audit verify: got %v", err)
	}
}
