package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// trail returns the lines of a trail with n records, and its checkpoints by size.
func trail(t *testing.T, n int64) (lines [][]byte, at []audit.Checkpoint) {
	t.Helper()
	edge := audit.Edge{}
	for seq := range n + 1 {
		root, err := edge.Root()
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, audit.Checkpoint{Log: "log", Size: seq, Root: root})
		line, err := audit.Encode(audit.Record{
			Version: audit.Version, Seq: seq + 1, Action: audit.ActionRequest, Asked: "create",
			Origin: api.Origin{Requester: api.Requester{Kind: api.RequesterTCP, Address: "<&>"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := edge.Append(line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines[:n], at
}

// verify checks a trail whose first record is after edge.
func verify(t *testing.T, lines [][]byte, edge audit.Edge, checkpoints ...audit.Checkpoint) error {
	t.Helper()
	check, err := audit.NewCheck("log", edge, checkpoints...)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if _, _, err := check.Record(line); err != nil {
			return err
		}
	}
	return check.Finish(true)
}

func TestCheck(t *testing.T) {
	lines, at := trail(t, 20)
	change := func(seq int64, from, to string) [][]byte {
		changed := append([][]byte{}, lines...)
		changed[seq-1] = []byte(strings.Replace(string(changed[seq-1]), from, to, 1))
		return changed
	}
	removed := append(append([][]byte{}, lines[:6]...), lines[7:]...)
	for name, test := range map[string]struct {
		lines       [][]byte
		checkpoints []audit.Checkpoint
		want        int64 // 0: whole
		message     string
	}{
		"whole":                    {lines, at, 0, ""},
		"whole, newest checkpoint": {lines, at[20:], 0, ""},
		"one letter, checkpoints":  {change(7, "create", "creati"), at, 7, "differs from what the checkpoint of 7 records"},
		"one letter, two of them": {
			change(7, "create", "creati"), []audit.Checkpoint{at[5], at[20]}, 6, "one of those up to record 20",
		},
		"not JSON":               {change(7, "{", ""), nil, 7, "cannot be read"},
		"removed":                {removed, nil, 7, "it is missing: record 8 stands in its place"},
		"last five removed":      {lines[:15], at[18:19], 16, "a checkpoint confirms 18 records"},
		"renumbered":             {change(7, `"seq":7`, `"seq":9`), nil, 7, "record 9 stands in its place"},
		"checkpoint of another":  {lines, []audit.Checkpoint{{Log: "other"}}, 1, "trail other"},
		"another trail, rebuilt": {lines[:0], at[1:2], 1, "it is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			err := verify(t, test.lines, audit.Edge{}, test.checkpoints...)
			if test.want == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			altered, ok := errors.AsType[*audit.AlteredError](err)
			if !ok || altered.Record != test.want || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want record %d: %s", err, test.want, test.message)
			}
		})
	}
}

// TestEdge verifies what is left after the first records were pruned, for every number of them.
func TestEdge(t *testing.T) {
	lines, at := trail(t, 33)
	edge := audit.Edge{}
	for pruned := range lines {
		if err := verify(t, lines[pruned:], edge, at[33]); err != nil {
			t.Errorf("%d pruned: %v", pruned, err)
		}
		if got := len(edge.Hashes); got != len(audit.EdgeIndexes(int64(pruned))) {
			t.Errorf("%d pruned: the edge has %d hashes", pruned, got)
		}
		if _, err := edge.Append(lines[pruned]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOperationWithoutEnd(t *testing.T) {
	begun := audit.Record{
		Version: 1, Seq: 1, Action: audit.ActionApply, Daemon: audit.Daemon{Home: "a"},
		Outcome: &audit.Outcome{State: audit.OutcomeBegun}, Operation: &audit.Operation{Workspace: "w"},
	}
	other := audit.Record{Version: 1, Seq: 2, Action: audit.ActionStart, Daemon: audit.Daemon{Home: "b"}}
	again := audit.Record{Version: 1, Seq: 3, Action: audit.ActionStart, Daemon: audit.Daemon{Home: "a"}}
	var lines [][]byte
	for i, r := range []audit.Record{begun, other, again} {
		line, err := audit.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
		err = verify(t, lines, audit.Edge{})
		incomplete, ok := errors.AsType[*audit.IncompleteError](err)
		if ok != (i == 2) || ok && incomplete.Record != 1 {
			t.Errorf("after %d records: %v", i+1, err)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	key, err := audit.LoadKey(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	again, err := audit.LoadKey(dir, "home")
	if err != nil || again.Public != key.Public {
		t.Fatalf("the second time: %q, %v; the first time: %q", again.Public, err, key.Public)
	}
	stranger, err := audit.LoadKey(other, "home")
	if err != nil {
		t.Fatal(err)
	}
	_, at := trail(t, 3)
	signed, err := key.Sign(at[3])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := audit.OpenCheckpoint(signed, stranger.Public, key.Public); err != nil || got != at[3] {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"size":      []byte(strings.Replace(string(signed), "\n3\n", "\n4\n", 1)),
		"truncated": signed[:len(signed)/2],
		"empty":     nil,
	} {
		if got, err := audit.OpenCheckpoint(bad, key.Public); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if _, err := audit.OpenCheckpoint(signed, stranger.Public); err == nil {
		t.Error("a stranger's key opens the checkpoint")
	}
	if _, err := audit.OpenCheckpoint(signed, "no key"); err == nil || !strings.Contains(err.Error(), "not a public key") {
		t.Errorf("an invalid key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "audit.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.LoadKey(dir, "home"); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("a damaged key: %v", err)
	}
	info, err := os.Stat(filepath.Join(other, "audit.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
}
