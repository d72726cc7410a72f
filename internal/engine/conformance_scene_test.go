package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/store"
)

// dockerScene is a daemon behind HTTP that has containers in every state and images of every kind.
type dockerScene struct {
	*fixture
	url string
	// containers and images hold references by the state or kind that the container or image is an example of.
	containers, images map[string]string
	running            sync.WaitGroup // requests that end with the test
}

// bodies are the bodies of creates, with more or fewer fields.
var bodies = map[string]string{
	"minimal": `{"Image": "app:1"}`,
	"full": `{"Image": "app:1", "Cmd": ["run", "fast"], "Entrypoint": ["/entry"], "Env": ["A=1", "EMPTY="],
		"Labels": {"team": "a"}, "ExposedPorts": {"80/tcp": {}}, "User": "1000", "WorkingDir": "/w", "Hostname": "h",
		"Domainname": "d", "Tty": true, "OpenStdin": true, "StopSignal": "SIGINT", "StopTimeout": 5,
		"Shell": ["/bin/sh"], "Volumes": {}, "Healthcheck": {"Test": ["NONE"]}, "ArgsEscaped": false, "OnBuild": [],
		"HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
			"Memory": 67108864, "NanoCpus": 1000000000, "CpuShares": 2, "PidsLimit": 9, "OomKillDisable": false,
			"ShmSize": 67108864, "Dns": ["9.9.9.9"], "DnsOptions": ["ndots:1"], "DnsSearch": ["x"],
			"ExtraHosts": ["a:10.0.0.1"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "GroupAdd": ["1"],
			"Init": true, "Runtime": "runc", "Sysctls": {"net.core.somaxconn": "1"}, "StorageOpt": {"size": "1G"},
			"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "LogConfig": {"Type": "syslog", "Config": {"a": "b"}},
			"RestartPolicy": {"Name": "no"}, "Annotations": {"k": "v"}, "ConsoleSize": [1, 2], "UsernsMode": "host"},
		"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["x"], "MacAddress": "02:42:ac:11:00:02",
			"DriverOpts": {"a": "b"}, "IPAMConfig": {"IPv4Address": "172.17.0.9"}}}}}`,
	"empty": `{"Image": "app:1", "Cmd": [], "Entrypoint": [], "Env": [], "Labels": {}, "ExposedPorts": {}, "Volumes": {},
		"HostConfig": {}, "NetworkingConfig": {"EndpointsConfig": {}}}`,
	"nulls": `{"Image": "app:1", "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "ExposedPorts": null,
		"Volumes": null, "OnBuild": null, "HostConfig": {"Binds": null, "PortBindings": null, "LogConfig": {"Config": null},
			"CapAdd": null, "CapDrop": null, "Dns": null, "DnsOptions": null, "DnsSearch": null, "ExtraHosts": null,
			"GroupAdd": null, "Links": null, "SecurityOpt": null, "VolumesFrom": null, "Devices": null,
			"DeviceRequests": null, "Ulimits": null, "PidsLimit": null, "MaskedPaths": null, "ReadonlyPaths": null},
		"NetworkingConfig": null}`,
	"unknown image": `{"Image": "example.com/hidden"}`,
}

// newDockerScene returns a scene. Its requests under way end with the test, or when the daemon stops.
func newDockerScene(t *testing.T) *dockerScene {
	t.Helper()
	s := &dockerScene{fixture: pooled(t, 0, 1), containers: map[string]string{}, images: map[string]string{}}
	s.settings = func(s *Settings) { s.AppsPerServicePlan = 100 }
	// Some of them are held.
	s.limits = Limits{TerraformRuns: 4, TerraformRunsPerServicePlan: 4, AzureWritesPerMinute: 1000, Queue: 100}
	s.start(t)
	s.archive(t)
	s.serve(t)
	s.addImages(t)
	t.Cleanup(s.running.Wait)
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	s.addContainers(t, ended)
	for of, want := range map[string]store.State{
		"creating": store.Creating, "created, minimal": store.Created, "running": store.Running, "exited": store.Exited,
		"removing": store.Removing, "dead": store.Dead,
	} {
		if c, err := s.db.Container(t.Context(), s.containers[of]); err != nil || c.State != want {
			t.Fatalf("got %v, %v; want it %s", c.State, err, want)
		}
	}
	return s
}

func (s *dockerScene) serve(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(server.New(server.Config{Backend: s.Engine}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
}

// rest stops the daemon and serves from the next one, whose queue does not run: with -race, its polls take most of the
// time.
func (s *dockerScene) rest(t *testing.T) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.prepare(t)
	s.serve(t)
}

func (s *dockerScene) addImages(t *testing.T) {
	t.Helper()
	s.registry.answers("a", 0, nil)
	s.pull(t, "app:1") // dangling after the next pull
	s.answersApp()
	s.pull(t, "app:1")
	s.registry.answers("c", 2, nil)
	s.pull(t, "example.com/team/bare@"+s.registry.image.Digest)
	s.registry.answers("d", 3, nil)
	s.registry.image.Spec.Created = nil
	s.pull(t, "undated")
	s.registry.err = api.Errorf(api.Unavailable, "no answer")
	s.pull(t, "example.com/hidden")
	s.registry.err = nil
	for name, char := range map[string]string{"dangling": "a", "tagged": "b", "by digest": "c", "undated": "d"} {
		s.images[name] = "sha256:" + strings.Repeat(char, 64)
	}
	s.images["unknown"] = "example.com/hidden"
}

// answersApp makes the registry answer with the image app:1.
func (s *dockerScene) answersApp() {
	s.registry.answers("b", 1, map[string]string{"from": "image"})
	s.registry.image.Spec = fullSpec(s.registry.image.Spec)
}

// fullSpec returns an image's configuration with everything in it that a builder writes.
func fullSpec(spec v1.DockerOCIImage) v1.DockerOCIImage {
	spec.Author, spec.OSVersion, spec.Variant = "me", "6", "v2"
	spec.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("1"), digest.FromString("2")}}
	spec.History = []ocispec.History{
		{Created: spec.Created, CreatedBy: "ADD a", Comment: "buildkit"}, {CreatedBy: "CMD b", EmptyLayer: true},
		{Created: spec.Created, CreatedBy: "COPY c", Author: "me"},
	}
	spec.Config.ImageConfig = ocispec.ImageConfig{
		User: "u", ExposedPorts: map[string]struct{}{"443/tcp": {}}, Env: []string{"PATH=/bin"},
		Entrypoint: []string{"/image"}, Cmd: []string{"default"}, Volumes: map[string]struct{}{"/data": {}},
		WorkingDir: "/image", Labels: spec.Config.Labels, StopSignal: "SIGQUIT",
	}
	spec.Config.Shell = []string{"/bin/bash"}
	spec.Config.OnBuild = []string{"RUN x"}
	spec.Config.Healthcheck = &v1.HealthcheckConfig{Test: []string{"CMD", "true"}, Interval: time.Second}
	return spec
}

// addContainers brings a container into each state. Those that a request or a run holds there stay until ended.
func (s *dockerScene) addContainers(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	began := make(chan struct{}, 1)
	hold := func(ctx context.Context) {
		began <- struct{}{}
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		s.containers["created, "+name] = s.createBody(t, name, "")
	}

	failed := s.createBody(t, "minimal", "failed")
	s.invoke(func(context.Context, invoker.Request) (invoker.Result, error) {
		return invoker.Result{}, errors.New("no answer")
	})
	s.run(t, failed)
	s.wait(t, failed, "")
	s.containers["exited without an answer"] = failed

	exited := s.createBody(t, "full", "exited")
	s.invoke(func(context.Context, invoker.Request) (invoker.Result, error) {
		lines := []protocol.Line{{Stream: protocol.Stdout, Text: "a"}, {Stream: protocol.Stderr, Text: "b"}}
		return invoker.Result{ExitCode: 7, Lines: lines}, nil
	})
	s.run(t, exited)
	s.wait(t, exited, "")
	s.containers["exited"] = exited

	running := s.createBody(t, "minimal", "running")
	s.invoke(func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		hold(ctx)
		return invoker.Result{}, context.Cause(ctx)
	})
	s.run(t, running)
	<-began
	s.containers["running"] = running

	removing := s.createBody(t, "minimal", "removing")
	s.workspaces.set(func() {
		s.workspaces.destroy = func(ctx context.Context) error {
			hold(ctx)
			return nil
		}
	})
	s.behind(t, http.MethodDelete, "/containers/"+removing, "")
	<-began
	s.containers["removing"] = removing

	s.workspaces.set(func() {
		s.workspaces.provision = func(context.Context) error { return errors.New("no quota") }
		s.workspaces.destroy = func(context.Context) error { return errors.New("no answer") }
	})
	if res := s.ask(t, http.MethodPost, "/containers/create?name=dead", bodies["minimal"]); res.status < 400 {
		t.Errorf("a failed create: got %d %s", res.status, res.body)
	}
	s.containers["dead"] = "dead"

	s.workspaces.set(func() {
		s.workspaces.destroy = nil
		s.workspaces.provision = func(ctx context.Context) error {
			hold(ctx)
			return nil
		}
	})
	s.behind(t, http.MethodPost, "/containers/create?name=creating", bodies["full"])
	<-began
	s.containers["creating"] = "creating"
	s.workspaces.set(func() { s.workspaces.provision = nil })
}

// invoke changes what runs do.
func (s *dockerScene) invoke(run func(context.Context, invoker.Request) (invoker.Result, error)) {
	s.invoker.mu.Lock()
	defer s.invoker.mu.Unlock()
	s.invoker.run = run
}

// createBody creates a container by one of the bodies and returns its id.
func (s *dockerScene) createBody(t *testing.T, body, name string) string {
	t.Helper()
	res := s.ask(t, http.MethodPost, "/containers/create?name="+name, bodies[body])
	var created struct{ ID string }
	if err := json.Unmarshal(res.body, &created); err != nil || res.status != http.StatusCreated {
		t.Fatalf("create %s: got %d %s", body, res.status, res.body)
	}
	return created.ID
}

// behind sends a request that is under way until the end of the test.
func (s *dockerScene) behind(t *testing.T, method, path, body string) {
	s.running.Go(func() { s.ask(t, method, path, body) })
}

// response is an answer that was read to its end.
type response struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request and reads its answer to the end.
func (s *dockerScene) ask(t *testing.T, method, path, body string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return response{}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return response{}
	}
	content, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Error(err)
	}
	return response{res.StatusCode, res.Header, content}
}

// filtersOf returns the query of a request with one filter.
func filtersOf(name string, values ...string) string {
	given, err := json.Marshal(map[string][]string{name: values})
	if err != nil {
		return fmt.Sprint(err)
	}
	return "filters=" + url.QueryEscape(string(given))
}
