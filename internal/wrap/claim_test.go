package wrap_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/wrap"
)

func TestDelete(t *testing.T) {
	s := newShelf(t)
	source := wrap.Source{Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", staticBase(t))}
	w := newWrapper(t, s)
	derived, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	image := canonical(t, derived.Reference)
	images := registry.New(registry.Config{Transport: transport(t)})
	for range 2 { // what is gone is deleted
		if err := wrap.Delete(t.Context(), images, image, ""); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := name.ParseReference(derived.Reference)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref); err == nil {
		t.Error("the derived image is still there")
	}
	if _, err := w.Derive(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	checkDerived(t, userImage(t), derived, source)

	s.intercepts(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			refuse(w, http.StatusForbidden, "DENIED", "no")
		}
		return r.Method == http.MethodDelete
	})
	var identity wrap.Config
	withIdentity(s, &identity)
	check(t, wrap.Delete(t.Context(), identity.Registry, image, "1234-5678"), api.Forbidden,
		"cannot delete from "+s.host()+"/sockerless/wrapped: the identity 1234-5678 needs AcrDelete")
}

// TestClaim wants the claim before the registry is asked for the derived image, with what the image will need there.
func TestClaim(t *testing.T) {
	ours, theirs := newShelf(t), newShelf(t)
	base := ours.put(t, "functions/base", staticBase(t))
	other := imageOf(t, userConfig, gzipLayer(t, file("etc/other", random(t, 1<<16))))
	w := newWrapper(t, ours)
	if _, err := w.Host(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for _, from := range []*shelf{theirs, ours} { // the other order would find the user's layers
		source := wrap.Source{Image: from.put(t, "team/other", other), Base: base}
		ours.requests()
		var claimed wrap.Derived
		source.Claim = func(_ context.Context, d wrap.Derived) error {
			if got := matching(ours.requests(), `/v2/sockerless/wrapped/`); len(got) > 0 {
				t.Errorf("asked before the claim: %v", got)
			}
			claimed = d
			return nil
		}
		derived, err := w.Derive(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		claimed.PushedBytes, claimed.MountedBlobs = claimed.Bytes, derived.MountedBlobs
		if diff := cmp.Diff(derived, claimed); diff != "" {
			t.Errorf("claimed: %s", diff)
		}
		sizes = append(sizes, derived.Bytes)
	}
	if sizes[0] < sizes[1]+1<<16 {
		t.Errorf("%d bytes with the user's layers, %d without", sizes[0], sizes[1])
	}
	refused := errors.New("not now")
	source := wrap.Source{
		Image: ours.put(t, "team/app", userImage(t)), Base: base,
		Claim: func(context.Context, wrap.Derived) error { return refused },
	}
	ours.requests()
	if _, err := w.Derive(t.Context(), source); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if got := matching(ours.requests(), `/v2/sockerless/wrapped/`); len(got) > 0 {
		t.Errorf("asked without a claim: %v", got)
	}
}

// TestOwners wants the derived images of two owners to differ, so that each can delete its own.
func TestOwners(t *testing.T) {
	s := newShelf(t)
	source := wrap.Source{
		Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", staticBase(t)), Owner: "one",
	}
	w := newWrapper(t, s)
	one, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	source.Owner = "two"
	two, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	images := registry.New(registry.Config{Transport: transport(t)})
	if err := wrap.Delete(t.Context(), images, canonical(t, one.Reference), ""); err != nil {
		t.Fatal(err)
	}
	_, manifest, config := pulled(t, two.Reference)
	if config.Config.Labels[wrap.LabelOwner] != "two" || len(manifest.Layers) != 5 {
		t.Errorf("labels %v, %d layers", config.Config.Labels, len(manifest.Layers))
	}
}
