package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// restart starts the next engine. It deletes orphans, or reports them.
func (f *fixture) restart(t *testing.T, orphans bool) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.orphans = orphans
	f.start(t)
}

// removed returns the id of a container that was removed.
func (f *fixture) removed(t *testing.T, name string) string {
	t.Helper()
	id := f.create(t, name)
	if err := f.ContainerRemove(t.Context(), name, false); err != nil {
		t.Fatal(err)
	}
	f.workspaces.set(func() { f.workspaces.removals = nil })
	return id
}

// compare compares workspaces and Azure, a number of times in intervals, the first one at once.
func (f *fixture) compare(t *testing.T, times int) {
	t.Helper()
	for n := range times {
		if n > 0 {
			f.clock.Advance(10 * time.Minute)
		}
		if err := errors.Join(f.tidyWorkspaces(t.Context()), f.compareAzure(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}

// fates returns the states of all orphans, in the order of their containers.
func (f *fixture) fates(t *testing.T) (states []string) {
	t.Helper()
	list, err := f.Orphans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		states = append(states, string(o.State))
	}
	return states
}

func foundApp(id, owner string) workspace.Found {
	return workspace.Found{ID: "/sites/" + appName(id), Tags: map[string]string{idTag: id, ownerTag: owner, nameTag: "n"}}
}

// destroyed returns the names of the function apps that Destroy was called for.
func (f *fixture) destroyed() (names []string) {
	f.workspaces.set(func() {
		for _, c := range f.workspaces.removals {
			names = append(names, c.FunctionApp)
		}
	})
	return names
}

func TestWorkspacesWithoutContainers(t *testing.T) {
	f := setup(t)
	kept, left := f.create(t, "web"), f.removed(t, "left")
	f.workspaces.set(func() { f.workspaces.onDisk = map[string]bool{kept: true, hexID("a"): false, left: true} })
	f.compare(t, 1)
	if !slices.Equal(f.workspaces.archived, []string{hexID("a")}) {
		t.Errorf("archived %v", f.workspaces.archived)
	}
	info, err := f.Info(t.Context())
	if err != nil || len(info.Warnings) != 1 {
		t.Fatalf("got %q, %v", info.Warnings, err)
	}
	for _, want := range []string{
		"1 orphans", "workspace /workspaces/" + left + " (reported)", `"sockerless-backend-azf gc confirm ID..."`,
		"Set gc to delete",
	} {
		if !strings.Contains(info.Warnings[0], want) {
			t.Errorf("no %q in %q", want, info.Warnings[0])
		}
	}
	f.compare(t, 10)
	if got := f.destroyed(); got != nil {
		t.Errorf("gc report destroyed %v", got)
	}
	f.restart(t, true)
	f.compare(t, 1)
	if info, err = f.Info(t.Context()); err != nil || len(info.Warnings) != 0 ||
		!slices.Equal(f.destroyed(), []string{appName(left)}) {
		t.Errorf("got %q, %v, destroyed %v", info.Warnings, err, f.destroyed())
	}
}

func TestAppsWithoutContainers(t *testing.T) {
	f := setup(t)
	kept, orphan, gone := f.create(t, "web"), f.removed(t, "orphan"), f.removed(t, "gone")
	f.restart(t, true)
	renamed, tagless := foundApp(hexID("c"), "test"), foundApp(hexID("d"), "test")
	renamed.ID, tagless.Tags = "/sites/of-a-user", nil
	f.workspaces.set(func() { f.workspaces.onDisk = map[string]bool{hexID("e"): false} })
	f.azure.apps = []workspace.Found{
		foundApp(kept, "test"), foundApp(orphan, "test"), foundApp(gone, "test"), foundApp(hexID("f"), "another"),
		renamed, tagless,
	}
	f.azure.gone = map[string]bool{"/sites/" + appName(gone): true}
	f.compare(t, 6) // they last 50 minutes
	if got := f.fates(t); !slices.Equal(got, []string{"waiting"}) || f.destroyed() != nil {
		t.Fatalf("got %v, destroyed %v", got, f.destroyed())
	}
	f.restart(t, true)
	f.clock.Advance(10 * time.Minute)
	f.compare(t, 1)
	if got := f.destroyed(); !slices.Equal(got, []string{appName(orphan)}) || len(f.fates(t)) > 0 {
		t.Errorf("destroyed %v, left %v", got, f.fates(t))
	}
	f.azure.err = errors.New("forbidden")
	if err := f.compareAzure(t.Context()); err == nil {
		t.Error("a failed list is taken for none")
	}
}

// TestOrphansOfALostDatabase: a database without a trace of the containers destroys nothing, how long it may wait and
// however few they are, until somebody confirms it.
func TestOrphansOfALostDatabase(t *testing.T) {
	f := setup(t)
	f.restart(t, true)
	a, b, c := hexID("a"), hexID("b"), hexID("c")
	f.azure.apps = []workspace.Found{foundApp(a, "test"), foundApp(b, "test")}
	f.workspaces.set(func() { f.workspaces.onDisk = map[string]bool{c: true} })
	f.compare(t, 20)
	if got := f.fates(t); !slices.Equal(got, []string{"held", "held", "held"}) || f.destroyed() != nil {
		t.Fatalf("got %v, destroyed %v", got, f.destroyed())
	}
	f.restart(t, false)
	confirmed, err := f.OrphansConfirm(t.Context(), []string{appName(b), c[:12]})
	if err != nil || len(confirmed) != 2 || confirmed[0].State != api.OrphanDue || confirmed[1].ID != c {
		t.Fatalf("got %+v, %v", confirmed, err)
	}
	f.restart(t, false)
	f.azure.apps = append(f.azure.apps, foundApp(hexID("d"), "test"))
	f.workspaces.set(func() { f.workspaces.destroy = func(context.Context) error { return errors.New("no answer") } })
	if err := errors.Join(f.tidyWorkspaces(t.Context()), f.compareAzure(t.Context())); err == nil {
		t.Error("a failed destroy is no error")
	}
	// The confirmation stays until the app is gone, when Azure does not answer and when Azure's list lacks the app.
	f.azure.err = errors.New("forbidden")
	if err := f.compareAzure(t.Context()); err == nil {
		t.Error("a failed list is no error")
	}
	f.azure.err = nil
	f.azure.unlisted = []workspace.Found{f.azure.apps[1]}
	f.azure.apps = slices.Delete(f.azure.apps, 1, 2)
	f.workspaces.set(func() { f.workspaces.removals, f.workspaces.destroy = nil, nil })
	f.compare(t, 3)
	if got := f.destroyed(); !slices.Equal(got, []string{appName(c), appName(b)}) {
		t.Errorf("destroyed %v", got)
	}
	// The one that came later was not confirmed.
	if got := f.fates(t); !slices.Equal(got, []string{"held", "held"}) {
		t.Errorf("left %v", got)
	}
}

// TestMostOrphansStay: of removed containers whose apps are back, only a minority is destroyed unasked.
func TestMostOrphansStay(t *testing.T) {
	f := setup(t)
	f.restart(t, true)
	var apps []workspace.Found
	for n := range 3 {
		apps = append(apps, foundApp(f.removed(t, fmt.Sprint("c", n)), "test"))
	}
	f.azure.apps = apps
	f.compare(t, 10)
	if got := f.fates(t); !slices.Equal(got, []string{"held", "held", "held"}) || f.destroyed() != nil {
		t.Errorf("got %v, destroyed %v", got, f.destroyed())
	}
	for n := range 3 {
		f.azure.apps = append(f.azure.apps, foundApp(f.create(t, fmt.Sprint("kept", n)), "test"))
	}
	f.azure.gone = map[string]bool{apps[0].ID: true}
	f.compare(t, 10)
	if got := f.fates(t); !slices.Equal(got, []string{"held", "held"}) || f.destroyed() != nil {
		t.Errorf("got %v, destroyed %v", got, f.destroyed())
	}
}

func TestConfirmNothing(t *testing.T) {
	f := setup(t)
	if _, err := f.OrphansConfirm(t.Context(), nil); api.KindOf(err) != api.InvalidParameter {
		t.Errorf("got %v", err)
	}
	if _, err := f.OrphansConfirm(t.Context(), []string{hexID("a")}); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestFate(t *testing.T) {
	e := &Engine{cfg: Config{OrphanGrace: time.Hour, DeleteOrphans: true}}
	const long = 2 * time.Hour
	now := time.Now()
	for name, row := range map[string]struct {
		store.Orphan
		want api.OrphanState
	}{
		"seen once":                  {store.Orphan{Sightings: 1, Waited: long}, api.OrphanWaiting},
		"not long":                   {store.Orphan{Sightings: 9, Waited: 59 * time.Minute}, api.OrphanWaiting},
		"long":                       {store.Orphan{Sightings: 2, Waited: time.Hour}, api.OrphanDue},
		"unknown":                    {store.Orphan{Sightings: 9, Waited: long, Held: store.HeldUnknown}, api.OrphanHeld},
		"confirmed at first sight":   {store.Orphan{Sightings: 1, Held: store.HeldUnknown, Confirmed: now}, api.OrphanDue},
		"confirmed after a held one": {store.Orphan{Sightings: 2, Held: store.HeldMost, Confirmed: now}, api.OrphanDue},
	} {
		if got, reason := e.fate(row.Orphan); got != row.want || reason == "" {
			t.Errorf("%s: got %s: %s, want %s", name, got, reason, row.want)
		}
	}
}
