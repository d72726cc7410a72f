package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/store"
)

// trailOf leaves a state folder with the trail of two tags of an image, and a checkpoint.
func trailOf(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cfg := store.Config{Path: filepath.Join(dir, "state.db"), Daemon: audit.Daemon{Home: "h"}}
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	uid := uint32(1000)
	ci := api.Requester{Kind: api.RequesterUnix, User: "ci", UID: &uid}
	ctx := api.WithOrigin(t.Context(), api.Origin{Requester: ci})
	for _, name := range []string{"one", "two"} {
		record := audit.Record{
			Action: audit.ActionRequest, Asked: "rename",
			Container: &audit.Container{ID: strings.Repeat("a", 64), Name: name},
		}
		if err := db.Record(ctx, record); err != nil {
			t.Fatal(err)
		}
	}
	key, err := audit.LoadKey(dir, "h")
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := key.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"audit.checkpoint": signed, "daemon.id": []byte("h")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// audited runs an audit command and returns what it prints, and its exit status.
func audited(t *testing.T, dir string, args ...string) (stdout string, status int, err error) {
	t.Helper()
	var out bytes.Buffer
	args = append([]string{"audit"}, args...)
	if dir != "" {
		args = append(args, "--state-dir", dir)
	}
	if err = run(t.Context(), args, nil, &out, &bytes.Buffer{}); err != nil {
		status = command.ExitStatus(err)
	}
	return out.String(), status, err
}

func TestAuditCommands(t *testing.T) {
	dir := trailOf(t)
	for _, row := range []struct {
		args   string
		status int
		want   string
	}{
		{"verify", 0, "records 1 to 2 are as they were written; checkpoints: 1"},
		{"show 2", 0, `"name": "two"`},
		{"show aaaa", 0, `"name":"one"`},
		{"show nosuch", 1, "none is about a container"},
		{"report", 0, "ci uid=1000"},
		{"report --from 2000-01-01 --to 2001-01-01", 0, "RECORD"},
		{"report --csv", 0, "record,time,action"},
		{"report --from soon", 2, `"soon" is not a time`},
		{"export --format csv", 0, "request rename"},
		{"export --format xml", 2, "use jsonl or csv"},
		{"checkpoint", 0, "sockerless-backend-azf/"},
		{"checkpoint --key", 0, "azf-h+"},
	} {
		out, status, err := audited(t, dir, strings.Fields(row.args)...)
		if err != nil {
			out += err.Error()
		}
		if status != row.status || !strings.Contains(out, row.want) {
			t.Errorf("%s: status %d, %s", row.args, status, out)
		}
	}
	if _, status, err := audited(t, t.TempDir(), "verify"); status != 1 || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("without a database: %d, %v", status, err)
	}
}

// TestAuditVerifyStatus alters the database, and an export.
func TestAuditVerifyStatus(t *testing.T) {
	dir := trailOf(t)
	export, _, err := audited(t, dir, "export")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "export.jsonl")
	verify := func(content string) (int, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, status, err := audited(t, "", "verify", file, "--checkpoint", filepath.Join(dir, "audit.checkpoint"),
			"--key", filepath.Join(dir, "audit.pub"))
		return status, err
	}
	lines := strings.SplitAfter(export, "\n")
	for content, want := range map[string]int{
		export: 0, strings.Replace(export, "two", "six", 1): 3, lines[0] + lines[2]: 3, lines[0] + lines[1]: 4,
	} {
		if status, err := verify(content); status != want {
			t.Errorf("status %d, %v; want %d of\n%s", status, err, want, content)
		}
	}

	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"DROP TRIGGER audit_never_changes", "UPDATE audit SET record = replace(record, 'two', 'six') WHERE seq = 2",
	} {
		if _, err := db.SQL().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, status, err := audited(t, dir, "verify"); status != 3 || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("altered: %d, %v", status, err)
	}
}
