package engine

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/riverqueue/river"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
)

// pull pulls an image and returns the lines of the stream.
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

// pushed is an image of two layers, in a registry.
type pushed struct {
	srv           *httptest.Server
	image, id     string
	digest        string
	first, second v1.Descriptor // its layers
	size          int64
	diffIDs       []string
}

// push starts a real registry and pushes an image into it.
func push(t *testing.T) pushed {
	t.Helper()
	p := pushed{srv: httptest.NewTLSServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))}
	t.Cleanup(p.srv.Close)
	p.image = strings.TrimPrefix(p.srv.URL, "https://") + "/team/app:1.0"
	img, err := random.Image(50, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	built := v1.Time{Time: imageBuilt}
	config.OS, config.Architecture, config.Author, config.Created = "linux", "arm64", "someone", built
	config.Config = v1.Config{
		Env: []string{"A=b"}, Cmd: []string{"run"}, Labels: map[string]string{"k": "v"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	config.History = []v1.History{
		{CreatedBy: "COPY a", Created: built}, {CreatedBy: "ENV A=b", EmptyLayer: true},
		{CreatedBy: "COPY b", Comment: "last"},
	}
	for _, layer := range config.RootFS.DiffIDs {
		p.diffIDs = append(p.diffIDs, layer.String())
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(p.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithTransport(p.srv.Client().Transport)); err != nil {
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
	p.digest, p.id = digest.String(), manifest.Config.Digest.String()
	p.first, p.second = manifest.Layers[0], manifest.Layers[1]
	p.size = p.first.Size + p.second.Size + manifest.Config.Size
	return p
}

// TestPullFromARegistry pulls one image from a real registry, and asks for everything about it.
func TestPullFromARegistry(t *testing.T) {
	p, f := push(t), setup(t)
	f.cfg.Registry = registry.New(registry.Config{Transport: p.srv.Client().Transport})
	if diff := cmp.Diff([]api.ProgressMessage{
		{Status: "Pulling from team/app", ID: "1.0"},
		{Status: "Left for Azure to pull", ID: p.first.Digest.Hex[:12]},
		{Status: "Left for Azure to pull", ID: p.second.Digest.Hex[:12]},
		{Status: "Digest: " + p.digest},
		{Status: "WARNING: the image is for linux/arm64; Azure Functions runs linux/amd64"},
		{Status: "Status: Looked up " + p.image + "; Azure pulls it for each container"},
	}, f.pull(t, p.image)); diff != "" {
		t.Fatal(diff)
	}
	tags, digests := []string{p.image}, []string{strings.TrimSuffix(p.image, ":1.0") + "@" + p.digest}
	t.Run("inspect", func(t *testing.T) {
		var want api.ImageInspectResponse
		want.ID, want.RepoTags, want.RepoDigests, want.Size = p.id, tags, digests, p.size
		want.Created, want.Author, want.Os, want.Architecture = "2026-05-06T07:08:09Z", "someone", "linux", "arm64"
		want.Config = new(api.ImageConfig)
		want.Config.Env, want.Config.Cmd = []string{"A=b"}, []string{"run"}
		want.Config.Labels, want.Config.ExposedPorts = map[string]string{"k": "v"}, map[string]struct{}{"80/tcp": {}}
		want.RootFS.Type, want.RootFS.Layers = "layers", p.diffIDs
		want.AZF.Resolved = true
		got, err := f.ImageInspect(t.Context(), p.image)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
	t.Run("list", func(t *testing.T) {
		list, err := f.ImageList(t.Context(), api.ImageListOptions{})
		if diff := cmp.Diff([]api.ImageSummary{{
			ID: p.id, RepoTags: tags, RepoDigests: digests, Created: imageBuilt.Unix(), Size: p.size, SharedSize: -1,
			Labels: map[string]string{"k": "v"},
		}}, list); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
	t.Run("history", func(t *testing.T) {
		never := time.Time{}.Unix()
		history, err := f.ImageHistory(t.Context(), p.id[7:20])
		if diff := cmp.Diff([]api.ImageHistoryItem{
			{ID: p.id, CreatedBy: "COPY b", Comment: "last", Size: p.second.Size, Tags: tags, Created: never},
			{ID: "<missing>", CreatedBy: "ENV A=b", Created: never, Tags: []string{}},
			{ID: "<missing>", CreatedBy: "COPY a", Size: p.first.Size, Created: imageBuilt.Unix(), Tags: []string{}},
		}, history); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
	t.Run("login", func(t *testing.T) {
		auth := api.AuthConfig{ServerAddress: p.srv.URL, Username: "u", Password: "p"}
		if res, err := f.AuthLogin(t.Context(), auth); err != nil || res.Status != "Login Succeeded" {
			t.Errorf("got %+v, %v", res, err)
		}
	})
	t.Run("refused pulls are not recorded", func(t *testing.T) {
		other := strings.TrimSuffix(p.image, "1.0") + "2"
		if _, err := f.ImagePull(t.Context(), other, api.AuthConfig{}, ""); api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want a NotFound error", err)
		}
		_, err := f.ImagePull(t.Context(), p.image, api.AuthConfig{}, "linux/s390x")
		if api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want a NotFound error", err)
		}
		if got := f.listed(t, nil); got != p.image {
			t.Errorf("got %s", got)
		}
	})
}

func TestPullWithoutItsRegistry(t *testing.T) {
	f := setup(t)
	const down = "registry example.com gives no answer: no route"
	f.registry.err = api.Errorf(api.Unavailable, down)
	if diff := cmp.Diff([]api.ProgressMessage{
		{Status: "Using default tag: latest"},
		{Status: "Pulling from app", ID: "latest"},
		{Status: "Status: Recorded example.com/app:latest without looking it up (" + down + ")"},
	}, f.pull(t, "example.com/app")); diff != "" {
		t.Error(diff)
	}
	got, err := f.ImageInspect(t.Context(), "example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	want := api.ImageInspectResponse{AZF: api.ImageDetails{Error: down}}
	want.ID, want.RepoTags, want.RepoDigests = got.ID, []string{"example.com/app:latest"}, []string{}
	want.Config, want.RootFS.Type, want.RootFS.Layers = new(api.ImageConfig), "layers", []string{}
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
	_, err := f.ImagePull(t.Context(), "a b", api.AuthConfig{}, "")
	if api.KindOf(err) != api.InvalidParameter || !strings.HasPrefix(err.Error(), "invalid reference format") {
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

// TestSecretsAreNotStored pulls with every kind of secret from a registry that echoes them, and reads the database.
func TestSecretsAreNotStored(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, pass, _ := r.BasicAuth()
		message := "not for " + pass + r.Header.Get("Authorization")
		if _, err := w.Write([]byte(`{"errors": [{"code": "UNAVAILABLE", "message": "` + message + `"}]}`)); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	f := setup(t)
	f.cfg.Registry = registry.New(registry.Config{
		Transport: srv.Client().Transport, Host: "x", Username: "u", Password: "s3cret-configured",
	})
	image := strings.TrimPrefix(srv.URL, "https://") + "/app"
	for _, auth := range []api.AuthConfig{
		{Username: "u", Password: "s3cret-password"}, {Auth: "dTpzM2NyZXQtYXV0aA"}, {IdentityToken: "s3cret-identity"},
		{RegistryToken: "s3cret-registry"},
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
	for _, query := range []string{"SELECT id || error || spec FROM images", "SELECT name FROM image_names"} {
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
	jobs, err := f.river.JobList(t.Context(), river.NewJobListParams())
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs.Jobs {
		for _, content := range []string{string(job.EncodedArgs), string(job.Metadata)} {
			if strings.Contains(content, "s3cret") || strings.Contains(content, "dTpz") {
				t.Errorf("job %d: %s", job.ID, content)
			}
		}
	}
}
