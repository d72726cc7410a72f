package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

// keeping returns a keeper of an engine that is not started, and the clock that both use.
func keeping(t *testing.T, cfg AuditConfig) (*fixture, *keeper, interface{ Advance(time.Duration) }) {
	t.Helper()
	clock := azuretest.NewClock()
	f := &fixture{
		workspaces: &fakeWorkspaces{}, invoker: &fakeInvoker{}, logs: &fakeLogs{}, registry: &fakeRegistry{},
		azure: &fakeAzure{}, clock: &azuretest.ShiftedClock{},
	}
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "state.db"), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.db = db
	f.prepare(t)
	f.cfg.Audit, f.cfg.Clock = cfg, clock
	return f, &keeper{e: f.Engine}, clock
}

// recorded returns the actions in the trail.
func (f *fixture) recorded(t *testing.T) (actions []string) {
	t.Helper()
	_, err := f.db.VerifyTrail(t.Context(), nil, func(r audit.Record) error {
		text := string(r.Action)
		if r.Pruned != nil {
			text += " " + strings.Join(r.Pruned.Workspaces, " ")
		}
		actions = append(actions, text)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return actions
}

func TestRetention(t *testing.T) {
	f, k, clock := keeping(t, AuditConfig{Keep: 48 * time.Hour, ArchiveKeep: 24 * time.Hour})
	record := func() {
		t.Helper()
		if err := f.db.Record(t.Context(), audit.Record{Action: audit.ActionPlan}); err != nil {
			t.Fatal(err)
		}
	}
	record()
	f.workspaces.expired = []string{"archive/a", "archive/b"}
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"plan", "pruned archive/a archive/b"}, f.recorded(t)); diff != "" {
		t.Error(diff)
	}
	clock.Advance(49 * time.Hour)
	record()
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"plan", "pruned "}, f.recorded(t)); diff != "" {
		t.Errorf("two days later: %s", diff)
	}
	// Not more often than once an hour.
	f.workspaces.expired = []string{"archive/c"}
	if err := k.retain(t.Context()); err != nil || len(f.workspaces.expired) != 1 {
		t.Errorf("at once: %v left, %v", f.workspaces.expired, err)
	}
}

func TestCheckpoints(t *testing.T) {
	dir := t.TempDir()
	key, err := audit.LoadKey(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	var anchored []int64
	f, k, clock := keeping(t, AuditConfig{
		Sign: key.Sign, Path: filepath.Join(dir, "checkpoint"),
		Anchor: func(_ context.Context, c audit.Checkpoint, signed []byte) error {
			if opened, err := audit.OpenCheckpoint(signed, key.Public); err != nil || opened != c {
				t.Errorf("anchors %+v, %v", opened, err)
			}
			if refused == nil {
				anchored = append(anchored, c.Size)
			}
			return refused
		},
	})
	step := func() {
		t.Helper()
		if err := f.db.Record(t.Context(), audit.Record{Action: audit.ActionPlan}); err != nil {
			t.Fatal(err)
		}
		if err := k.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.anchor(t.Context())
	}
	step()
	step() // five minutes must pass
	refused = errors.New("no role")
	clock.Advance(anchorInterval)
	step()
	if w := f.trailWarnings(); len(w) != 1 || !strings.Contains(w[0], "no role") {
		t.Errorf("warnings: %q", w)
	}
	refused = nil
	clock.Advance(anchorInterval)
	step()
	clock.Advance(anchorInterval)
	if err := k.checkpoint(t.Context()); err != nil {
		t.Error(err)
	}
	k.anchor(t.Context()) // the trail has not grown
	if diff := cmp.Diff([]int64{1, 4}, anchored); diff != "" || len(f.trailWarnings()) > 0 {
		t.Errorf("anchored: %s; warnings %q", diff, f.trailWarnings())
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.AuditCheckpoint(t.Context())
	if c, openErr := audit.OpenCheckpoint(signed, key.Public); openErr != nil || c.Size != 4 || err != nil ||
		string(answer) != string(signed) {
		t.Errorf("got %+v, %v; the API answers %s, %v", c, openErr, answer, err)
	}
	f.cfg.Audit.Sign = nil
	if _, err := f.AuditCheckpoint(t.Context()); api.KindOf(err) != api.Unavailable {
		t.Errorf("without a key: %v", err)
	}
}
