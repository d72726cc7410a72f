package engine

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// fakeWrapper derives the same image each time, and pushes something only the first time.
type fakeWrapper struct{ derived int }

func digestOf(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func (f *fakeWrapper) Needs(string, registry.Image) (bool, error) { return true, nil }

func (f *fakeWrapper) Derive(context.Context, reference.Named) (api.Derived, error) {
	f.derived++
	d := api.Derived{
		Reference: "registry.example.com/sockerless/wrapped@" + digestOf("d"), Digest: digestOf("d"),
		Source: "registry.example.com/team/app@" + digestOf("5"), Base: "mcr.example.com/base@" + digestOf("b"),
		Handler: digestOf("a"), Recipe: 2, HostLayers: []string{digestOf("1")},
	}
	if f.derived == 1 {
		d.PushedBytes, d.MountedBlobs = 42, 3
	}
	return d, nil
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
	if diff := cmp.Diff(first, second); diff != "" || wrapper.derived != 1 {
		t.Errorf("derived %d times; the second attempt differs: %s", wrapper.derived, diff)
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
