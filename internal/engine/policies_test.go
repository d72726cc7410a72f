package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// governed returns an engine with policies, which its workspaces ask about the plan of each destroy.
func governed(t *testing.T, content string, on ...string) *fixture {
	t.Helper()
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.rego"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	f.gate, err = gate.New(t.Context(), gate.Config{
		Sets: []policy.Set{{Name: "house", Path: dir, On: on}}, Store: f.db,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.workspaces.destroy = func(ctx context.Context) error { return f.destroys(ctx, workspace.Planned) }
	f.start(t)
	return f
}

// destroys records the step of a destroy of the container that is being removed.
func (f *fixture) destroys(ctx context.Context, stage workspace.Stage) error {
	var id string
	f.workspaces.set(func() { id = f.workspaces.removals[len(f.workspaces.removals)-1].ID })
	return Trail{Store: f.db, Gate: f.gate, Settings: testSettings()}.Record(ctx, workspace.Step{
		Workspace: id, Stage: stage, Applies: true, Masked: []byte(`{"format_version": "1.2"}`),
		Operation: workspace.Operation{Number: 1, Kind: string(audit.ActionDestroy), Applied: stage != workspace.Planned},
		Keep:      func(about any) ([]byte, error) { return json.Marshal(about) },
		Hide:      func(text string) string { return text },
	})
}

// byClient returns the context of a client's request.
func byClient(t *testing.T) context.Context {
	return api.WithOrigin(t.Context(), api.Origin{Requester: api.Requester{Kind: api.RequesterUnix}})
}

const refusing = "package main\ndeny contains \"never\" if true"

// TestWhichRemovalsAreAskedAbout: policies refuse each removal that a client has asked for. They are not asked about
// what nobody wants any more.
func TestWhichRemovalsAreAskedAbout(t *testing.T) {
	broken := errors.New("unexpected status 503")
	autoRemove := request
	autoRemove.HostConfig = &api.HostConfig{AutoRemove: true}
	for name, row := range map[string]struct {
		// prepare makes the container web, and what is before the removal.
		prepare func(t *testing.T, f *fixture)
		asked   bool
	}{
		"a container": {
			prepare: func(t *testing.T, f *fixture) { f.create(t, "web") }, asked: true,
		},
		"one whose client has left": {
			prepare: func(t *testing.T, f *fixture) {
				f.leave(t, "web")
				f.settled(t)
			},
			asked: true,
		},
		"one that would remove itself": {
			prepare: func(t *testing.T, f *fixture) {
				if _, err := f.ContainerCreate(t.Context(), "web", autoRemove); err != nil {
					t.Fatal(err)
				}
			},
			asked: true,
		},
		"one whose removal has failed before": {
			prepare: func(t *testing.T, f *fixture) {
				f.create(t, "web")
				f.removalFails(t, func(context.Context) error { return broken })
			},
			asked: true,
		},
		"one whose destroy has begun": {
			prepare: func(t *testing.T, f *fixture) {
				f.create(t, "web")
				f.removalFails(t, func(ctx context.Context) error {
					return errors.Join(f.destroys(ctx, workspace.Applying), broken)
				})
			},
		},
		"what a failed create has left": {
			prepare: func(t *testing.T, f *fixture) {
				f.workspaces.set(func() {
					f.workspaces.provision = func(context.Context) error { return broken }
					f.workspaces.destroy = func(context.Context) error { return broken }
				})
				if _, err := f.ContainerCreate(byClient(t), "web", request); err == nil {
					t.Fatal("the create did not fail")
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := governed(t, refusing, gate.Remove)
			row.prepare(t, f)
			f.workspaces.set(func() {
				f.workspaces.destroy = func(ctx context.Context) error { return f.destroys(ctx, workspace.Planned) }
			})
			err := f.ContainerRemove(byClient(t), "web", false)
			if !row.asked {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if api.KindOf(err) != api.Forbidden || !strings.Contains(err.Error(), "policy house refuses the plan: never") {
				t.Errorf("got %v", err)
			}
			if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Created {
				t.Errorf("the container is %s, %v", c.State, err)
			}
			if err := f.ContainerStart(byClient(t), "web"); err != nil {
				t.Errorf("it cannot be used any more: %v", err)
			}
		})
	}
}

// TestRemovalIsTriedAgainForTheClient: a removal that has failed, and that the daemon tries again, is judged as that of
// the client who has asked for it.
func TestRemovalIsTriedAgainForTheClient(t *testing.T) {
	f := governed(t, `package main
deny contains "a stranger" if input.sockerless.requester.kind != "unix"`, gate.Remove)
	f.create(t, "web")
	f.removalFails(t, func(context.Context) error { return errors.New("unexpected status 503") })
	f.workspaces.set(func() {
		f.workspaces.destroy = func(ctx context.Context) error { return f.destroys(ctx, workspace.Planned) }
	})
	f.clock.Advance(maxRetryAfter)
	if err := f.compareJobs(api.ByDaemon(t.Context(), "reconcile")); err != nil {
		t.Fatal(err)
	}
	if list := f.settled(t); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

// removalFails lets a removal of the container web fail.
func (f *fixture) removalFails(t *testing.T, destroy func(context.Context) error) {
	t.Helper()
	f.workspaces.set(func() { f.workspaces.destroy = destroy })
	if err := f.ContainerRemove(byClient(t), "web", false); err == nil {
		t.Fatal("the removal did not fail")
	}
	if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Dead {
		t.Fatalf("the container is %s, %v", c.State, err)
	}
}

// TestNobodyAsksAboutWhatNobodyWants: containers without a client, and those that remove themselves, go.
func TestNobodyAsksAboutWhatNobodyWants(t *testing.T) {
	f := governed(t, refusing, gate.Remove)
	f.leave(t, "")
	if list := f.settled(t); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
	req := request
	req.HostConfig = &api.HostConfig{AutoRemove: true}
	if _, err := f.ContainerCreate(byClient(t), "web", req); err != nil {
		t.Fatal(err)
	}
	if err := f.ContainerStart(byClient(t), "web"); err != nil {
		t.Fatal(err)
	}
	f.wait(t, "web", api.WaitRemoved)
	if list := f.settled(t); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

// meanwhile is a context that calls do when the origin of a request is read.
type meanwhile struct {
	context.Context
	do func()
}

func (m meanwhile) Value(key any) any {
	if fmt.Sprintf("%T", key) == "api.originKey" {
		m.do()
	}
	return m.Context.Value(key)
}

// TestStartIsAskedAboutWhenARunEnds: a run that ends during a request does not let the next one begin unasked.
func TestStartIsAskedAboutWhenARunEnds(t *testing.T) {
	f := governed(t, `package sockerless.request
deny contains "once" if input.sockerless.requester.kind == "unix"`, gate.Start)
	_, release := f.held()
	f.create(t, "web")
	f.run(t, "web")
	ended := false
	ctx := meanwhile{byClient(t), func() {
		if ended {
			return
		}
		ended = true
		release <- 0
		f.wait(t, "web", api.WaitNotRunning)
	}}
	err := f.ContainerStart(ctx, "web")
	if kind := api.KindOf(err); kind != api.Forbidden && kind != api.NotModified {
		t.Errorf("got %v", err)
	}
	if err := f.ContainerStart(byClient(t), "web"); ended && api.KindOf(err) != api.Forbidden {
		t.Errorf("got %v", err)
	}
}

// TestHoldCreatesNothingAtStart: a daemon that looks for a held change leaves the creation to the first container.
func TestHoldCreatesNothingAtStart(t *testing.T) {
	f := setup(t)
	f.findHeld(t.Context())
	if f.workspaces.founded != 0 {
		t.Error("the foundation was created")
	}
	f.workspaces.outputs = "workspace"
	f.findHeld(t.Context())
	if f.workspaces.founded != 1 {
		t.Error("nobody has looked for a held change")
	}
}

// TestOtherChange: whoever approves what has changed meanwhile learns of it, and so does info.
func TestOtherChange(t *testing.T) {
	f := setup(t)
	f.cfg.HoldFoundation = true
	f.Engine.held.Store(&workspace.Held{Change: "first"})
	for _, now := range []*workspace.Held{{Change: "second"}, nil} {
		f.workspaces.foundation = fmt.Errorf("workspace /w: %w", &workspace.OtherChangeError{Now: now})
		_, err := f.FoundationCreate(t.Context(), "first")
		if api.KindOf(err) != api.Conflict || now != nil && !strings.Contains(err.Error(), now.Change) {
			t.Errorf("got %v", err)
		}
		info, err := f.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		warnings := strings.Join(info.Warnings, "\n")
		if strings.Contains(warnings, "first") || strings.Contains(warnings, "second") != (now != nil) {
			t.Errorf("info warns %q", warnings)
		}
	}
}
