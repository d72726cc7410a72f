package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/store"
)

// fakeRegistry answers every question with what it was told to.
type fakeRegistry struct {
	image registry.Image
	err   error
}

func (f *fakeRegistry) Resolve(context.Context, reference.Named, api.AuthConfig, string) (registry.Image, error) {
	return f.image, f.err
}

func (f *fakeRegistry) Login(context.Context, api.AuthConfig) error { return f.err }

var imageBuilt = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// answers makes the registry tell of image c, built some hours after imageBuilt.
func (f *fakeRegistry) answers(c string, hours int, labels map[string]string) {
	created := imageBuilt.Add(time.Duration(hours) * time.Hour)
	f.err = nil
	f.image = registry.Image{
		ID: "sha256:" + strings.Repeat(c, 64), Digest: "sha256:" + strings.Repeat(c, 63) + "0", Size: 12,
		Layers: []registry.Layer{{Digest: "sha256:" + strings.Repeat("1", 64), Size: 3}, {Digest: "sha256:" + strings.Repeat("2", 64), Size: 4}},
	}
	f.image.Spec.Created, f.image.Spec.OS, f.image.Spec.Architecture = &created, "linux", "amd64"
	f.image.Spec.Config.Labels = labels
}

// pull is a pull's stream.
func (f *fixture) pull(t *testing.T, ref string) []api.ProgressMessage {
	t.Helper()
	stream, err := f.ImagePull(t.Context(), ref, api.AuthConfig{}, "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []api.ProgressMessage
	dec := json.NewDecoder(stream)
	for {
		var line api.ProgressMessage
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestPullFromARegistry takes one image from a real registry through everything that is asked of images.
func TestPullFromARegistry(t *testing.T) {
	srv := httptest.NewTLSServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "https://")
	img, err := random.Image(50, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Author, config.Created = "linux", "arm64", "someone", v1.Time{Time: imageBuilt}
	config.Config = v1.Config{Env: []string{"A=b"}, Cmd: []string{"run"}, Labels: map[string]string{"k": "v"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}}
	config.History = []v1.History{{CreatedBy: "COPY a", Created: v1.Time{Time: imageBuilt}}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "COPY b", Comment: "last"}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/team/app:1.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithTransport(srv.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	first, second := manifest.Layers[0], manifest.Layers[1]
	image, id := host+"/team/app:1.0", manifest.Config.Digest.String()

	f := setup(t)
	f.cfg.Registry = registry.New(registry.Config{Transport: srv.Client().Transport})
	if diff := cmp.Diff([]api.ProgressMessage{
		{Status: "Pulling from team/app", ID: "1.0"},
		{Status: "Left for Azure to pull", ID: first.Digest.Hex[:12]},
		{Status: "Left for Azure to pull", ID: second.Digest.Hex[:12]},
		{Status: "Digest: " + digest.String()},
		{Status: "WARNING: the image is for linux/arm64; Azure Functions runs linux/amd64"},
		{Status: "Status: Looked up " + image + "; Azure pulls it for each container"},
	}, f.pull(t, image)); diff != "" {
		t.Error(diff)
	}
	got, err := f.ImageInspect(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	size := first.Size + second.Size + manifest.Config.Size
	var want api.ImageInspectResponse
	want.ID, want.RepoTags, want.RepoDigests = id, []string{image}, []string{host + "/team/app@" + digest.String()}
	want.Created, want.Author, want.Os, want.Architecture, want.Size = "2026-05-06T07:08:09Z", "someone", "linux", "arm64", size
	want.Config = new(api.ImageConfig)
	want.Config.Env, want.Config.Cmd = []string{"A=b"}, []string{"run"}
	want.Config.Labels, want.Config.ExposedPorts = map[string]string{"k": "v"}, map[string]struct{}{"80/tcp": {}}
	want.RootFS.Type, want.RootFS.Layers = "layers", []string{config.RootFS.DiffIDs[0].String(), config.RootFS.DiffIDs[1].String()}
	want.AZF.Resolved = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	list, err := f.ImageList(t.Context(), api.ImageListOptions{})
	if diff := cmp.Diff([]api.ImageSummary{{
		ID: id, RepoTags: want.RepoTags, RepoDigests: want.RepoDigests, Created: imageBuilt.Unix(), Size: size, SharedSize: -1, Containers: -1, Labels: map[string]string{"k": "v"},
	}}, list); err != nil || diff != "" {
		t.Error(err, diff)
	}
	history, err := f.ImageHistory(t.Context(), id[7:20])
	if diff := cmp.Diff([]api.ImageHistoryItem{
		{ID: id, CreatedBy: "COPY b", Comment: "last", Size: second.Size, Tags: []string{image}, Created: time.Time{}.Unix()},
		{ID: "<missing>", CreatedBy: "ENV A=b", Created: time.Time{}.Unix()},
		{ID: "<missing>", CreatedBy: "COPY a", Size: first.Size, Created: imageBuilt.Unix()},
	}, history); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if res, err := f.AuthLogin(t.Context(), api.AuthConfig{ServerAddress: srv.URL, Username: "u", Password: "p"}); err != nil || res.Status != "Login Succeeded" {
		t.Errorf("login: %+v, %v", res, err)
	}
	if _, err := f.ImagePull(t.Context(), host+"/team/app:2", api.AuthConfig{}, ""); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want a NotFound error", err)
	}
	if _, err := f.ImagePull(t.Context(), image, api.AuthConfig{}, "linux/s390x"); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want a NotFound error", err)
	}
	if got := f.listed(t, nil); got != image {
		t.Errorf("a refused pull was recorded: %s", got)
	}
}

func TestPullWithoutItsRegistry(t *testing.T) {
	f := setup(t)
	f.registry.err = api.Errorf(api.Unavailable, "registry example.com gives no answer: no route")
	if diff := cmp.Diff([]api.ProgressMessage{
		{Status: "Using default tag: latest"},
		{Status: "Pulling from app", ID: "latest"},
		{Status: "Status: Recorded example.com/app:latest without looking it up (registry example.com gives no answer: no route)"},
	}, f.pull(t, "example.com/app")); diff != "" {
		t.Error(diff)
	}
	got, err := f.ImageInspect(t.Context(), "example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	want := api.ImageInspectResponse{AZF: api.ImageDetails{Error: "registry example.com gives no answer: no route"}}
	want.ID, want.RepoTags, want.RepoDigests, want.Config = got.ID, []string{"example.com/app:latest"}, []string{}, new(api.ImageConfig)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if history, err := f.ImageHistory(t.Context(), "example.com/app"); err != nil || history == nil || len(history) != 0 {
		t.Errorf("history: got %v, %v", history, err)
	}
	f.registry.answers("a", 0, nil)
	if lines := f.pull(t, "example.com/app@"+f.registry.image.Digest); lines[0].ID != f.registry.image.Digest {
		t.Errorf("got %+v", lines[0])
	}
	f.pull(t, "example.com/app")
	if got, err := f.ImageInspect(t.Context(), "example.com/app"); err != nil || !got.AZF.Resolved || got.AZF.Error != "" {
		t.Errorf("got %+v, %v", got.AZF, err)
	}
	if got := f.listed(t, nil); got != "example.com/app:latest" {
		t.Errorf("left: %s", got)
	}
}

func TestPullRefusals(t *testing.T) {
	f := setup(t)
	if _, err := f.ImagePull(t.Context(), "a b", api.AuthConfig{}, ""); api.KindOf(err) != api.InvalidParameter || !strings.HasPrefix(err.Error(), "invalid reference format") {
		t.Errorf("got %v", err)
	}
	denied := api.Errorf(api.NotFound, "pull access denied for app")
	f.registry.err = denied
	if _, err := f.ImagePull(t.Context(), "app", api.AuthConfig{}, ""); !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
	if _, err := f.AuthLogin(t.Context(), api.AuthConfig{}); !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
	if _, err := f.ImageInspect(t.Context(), "app"); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v", err)
	}
	if _, err := f.ImageHistory(t.Context(), "app"); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v", err)
	}
}

// TestSecretsAreNotStored pulls with every kind of secret, from a registry that can be asked and from one that says them back, and reads the database's file.
func TestSecretsAreNotStored(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, pass, _ := r.BasicAuth()
		if _, err := w.Write([]byte(`{"errors": [{"code": "UNAVAILABLE", "message": "not for ` + pass + r.Header.Get("Authorization") + `"}]}`)); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	f := setup(t)
	f.cfg.Registry = registry.New(registry.Config{Transport: srv.Client().Transport, Host: "x", Username: "u", Password: "s3cret-configured"})
	image := strings.TrimPrefix(srv.URL, "https://") + "/app"
	for _, auth := range []api.AuthConfig{
		{Username: "u", Password: "s3cret-password"}, {Auth: "dTpzM2NyZXQtYXV0aA"}, {IdentityToken: "s3cret-identity"}, {RegistryToken: "s3cret-registry"},
	} {
		stream, err := f.ImagePull(t.Context(), image, auth, "")
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(stream)
		if err != nil || strings.Contains(string(content), "s3cret") || strings.Contains(string(content), "dTpz") {
			t.Errorf("stream: %s, %v", content, err)
		}
	}
	got, err := f.ImageInspect(t.Context(), image)
	if err != nil || !strings.Contains(got.AZF.Error, "not for") || strings.Contains(got.AZF.Error, "s3cret") {
		t.Errorf("got %+v, %v", got.AZF, err)
	}
	rows := 0
	for _, query := range []string{"SELECT id || error || spec FROM images", "SELECT name FROM image_names", "SELECT CAST(args AS TEXT) FROM river_job"} {
		found, err := f.db.SQL().QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for found.Next() {
			var text string
			if err := found.Scan(&text); err != nil || strings.Contains(text, "s3cret") || strings.Contains(text, "dTpz") {
				t.Errorf("%s: %s, %v", query, text, err)
			}
			rows++
		}
		if err := errors.Join(found.Err(), found.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if rows < 2 {
		t.Errorf("%d rows were read", rows)
	}
}

func TestImageOfAContainer(t *testing.T) {
	f := setup(t)
	id := f.create(t, "web")
	image := request.Image
	got, err := f.ImageInspect(t.Context(), image)
	if err != nil || got.AZF != (api.ImageDetails{}) {
		t.Fatalf("got %+v, %v", got.AZF, err)
	}
	if _, err := f.ImageRemove(t.Context(), image, false, true); api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), id[:12]) {
		t.Errorf("got %v, want a conflict that names the container", err)
	}
	if report, err := f.ImagePrune(t.Context(), api.Filters{"dangling": {"false"}}); err != nil || len(report.ImagesDeleted) > 0 {
		t.Errorf("prune: %+v, %v", report, err)
	}
	if err := f.ContainerRemove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	deleted, err := f.ImageRemove(t.Context(), image, false, true)
	if diff := cmp.Diff([]api.ImageDeleted{{Untagged: image}, {Deleted: got.ID}}, deleted); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestImageTag(t *testing.T) {
	f := setup(t)
	f.registry.answers("a", 0, nil)
	f.pull(t, "alpine")
	for _, row := range []struct {
		source, repo, tag string
		kind              api.Kind
		text              string
	}{
		{"alpine", "mine", "1", 0, ""},
		{"alpine", "mine:2", "", 0, ""},
		{"aaaa", "example.com/mine", "", 0, ""},
		{"alpine", "mine:9", "3", 0, ""},
		{"none", "mine", "1", api.NotFound, "No such image: none:latest"},
		{"alpine", "Mine", "1", api.InvalidParameter, "invalid reference format"},
		{"alpine", "", "1", api.InvalidParameter, "invalid reference format"},
		{"alpine", "mine", "a b", api.InvalidParameter, "invalid reference format"},
		{"alpine", "mine@sha256:" + strings.Repeat("a", 64), "1", api.InvalidParameter, "refusing to create a tag with a digest reference"},
	} {
		err := f.ImageTag(t.Context(), row.source, row.repo, row.tag)
		if row.text == "" && err != nil || row.text != "" && (api.KindOf(err) != row.kind || !strings.HasPrefix(err.Error(), row.text)) {
			t.Errorf("%s as %s:%s: got %v, want %q", row.source, row.repo, row.tag, err, row.text)
		}
	}
	got, err := f.ImageInspect(t.Context(), "alpine")
	if diff := cmp.Diff([]string{"alpine:latest", "mine:1", "mine:2", "mine:3", "example.com/mine:latest"}, got.RepoTags); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestImagesSurviveARestart opens the database again, as the next daemon does.
func TestImagesSurviveARestart(t *testing.T) {
	f := setup(t)
	f.registry.answers("a", 0, nil)
	f.pull(t, "alpine")
	before, err := f.ImageInspect(t.Context(), "alpine")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var path string
	if err := f.db.SQL().QueryRowContext(t.Context(), "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path); err != nil {
		t.Fatal(err)
	}
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	next := &fixture{workspaces: f.workspaces, invoker: f.invoker, logs: f.logs, registry: f.registry, azure: f.azure}
	if next.db, err = store.Open(t.Context(), store.Config{Path: filepath.Clean(path)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := next.db.Close(); err != nil {
			t.Error(err)
		}
	})
	next.start(t)
	after, err := next.ImageInspect(t.Context(), before.ID)
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
