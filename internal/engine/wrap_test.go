package engine

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// fakeWrapper derives the same image from all, and is the registry that has it.
type fakeWrapper struct {
	derive func()                      // between the claim and the first request
	remove func(context.Context) error // before the registry deletes

	mu    sync.Mutex
	there bool     // whether the registry has the image
	log   []string // what it was asked for
}

func digestOf(c string) string { return "sha256:" + strings.Repeat(c, 64) }

var fakeDerived = api.Derived{
	Reference: "registry.example.com/sockerless/wrapped@" + digestOf("d"), Digest: digestOf("d"),
	Source: "registry.example.com/team/app@" + digestOf("5"), Base: "mcr.example.com/base@" + digestOf("b"),
	Handler: digestOf("a"), Recipe: 2, HostLayers: []string{digestOf("1")},
}

func (w *fakeWrapper) Needs(string, registry.Image) (bool, error) { return true, nil }

func (w *fakeWrapper) Derive(
	ctx context.Context, _ reference.Named, claim func(context.Context, string, int64) error,
) (api.Derived, error) {
	d := fakeDerived
	if err := claim(ctx, d.Reference, 7); err != nil {
		return api.Derived{}, err
	}
	if w.derive != nil {
		w.derive()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "HEAD "+strconv.FormatBool(w.there))
	if !w.there {
		w.log, w.there = append(w.log, "PUT"), true
		d.PushedBytes, d.MountedBlobs = 42, 3
	}
	return d, nil
}

func (w *fakeWrapper) Remove(ctx context.Context, ref string) error {
	if w.remove != nil {
		if err := w.remove(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log, w.there = append(w.log, "DELETE "+api.DigestIn(ref)[:9]), false
	return nil
}

// asked returns what the registry was asked for since the last call.
func (w *fakeWrapper) asked() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return strings.Join(log, ", ")
}

// TestRecordOfDerivedImage: each attempt to create a container, by whichever daemon, keeps the same of its image.
func TestRecordOfDerivedImage(t *testing.T) {
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wrapper := &fakeWrapper{}
	f.wrapper = wrapper
	f.registry.answers("c", 0, nil)
	f.start(t)
	began := make(chan struct{})
	f.workspaces.provision = func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}
	left := make(chan error)
	go func() {
		_, err := f.ContainerCreate(t.Context(), "web", request)
		left <- err
	}()
	<-began
	var first, second workspace.FunctionApp
	f.workspaces.set(func() { first = f.workspaces.app })
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-left; api.KindOf(err) != api.Unavailable {
		t.Errorf("got %v", err)
	}
	f.workspaces.set(func() { f.workspaces.provision = nil })
	f.clock.Advance(time.Second)
	f.start(t)
	f.until(t, "web", store.Created)
	f.workspaces.set(func() { second = f.workspaces.app })
	if diff, asked := cmp.Diff(first, second), wrapper.asked(); diff != "" || asked != "HEAD false, PUT" {
		t.Errorf("the registry was asked for %s; the second attempt differs: %s", asked, diff)
	}
	c, err := f.db.Container(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(second.DerivedImage)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"source":{"reference":"registry.example.com/team/app:1","digest":"` + digestOf("5") + `"},` +
		`"base":{"reference":"mcr.example.com/base@` + digestOf("b") + `","digest":"` + digestOf("b") + `"},` +
		`"handler_digest":"` + digestOf("a") + `","recipe":2,` +
		`"derived":{"reference":"registry.example.com/sockerless/wrapped@` + digestOf("d") + `","digest":"` + digestOf("d") +
		`"},"host_layers":["` + digestOf("1") + `"],"pushed_bytes":42,"mounted_blobs":3,` +
		`"at":"` + c.Derived.At.Format(time.RFC3339Nano) + `"}`
	if diff := cmp.Diff(want, string(got)); diff != "" || c.Derived.At.Before(c.Created) {
		t.Errorf("%s; created %v", diff, c.Created)
	}
	if second.Tags[digestTag] != digestOf("5") || second.ImageTag != strings.Repeat("d", 64) {
		t.Errorf("tags %q, image %s:%s", second.Tags, second.ImageName, second.ImageTag)
	}
}
