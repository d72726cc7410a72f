package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/moby/moby/api/types/container"
	moby "github.com/moby/moby/client"

	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
)

// push puts a copy of the example image, with a digest of its own, into the simulator's registry.
func (p *playground) push(t *testing.T, name string) string {
	t.Helper()
	return p.pushWith(t, name, func(config *v1.Config) { config.Labels = map[string]string{"name": name} })
}

// pushWith pushes the example image under another name and with a changed configuration.
func (p *playground) pushWith(t *testing.T, name string, change func(config *v1.Config)) string {
	t.Helper()
	img, err := demo.BuildExample(t.Context(), "../..", filepath.Join(p.dir, "build"), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	change(&config)
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	return p.pushImage(t, name, img)
}

// pushImage pushes an image and returns its reference.
func (p *playground) pushImage(t *testing.T, name string, img appimage.Image) string {
	t.Helper()
	transport := p.sim.Transport()
	defer transport.CloseIdleConnections()
	ref := p.sim.Registry() + "/" + name + ":1"
	if err := appimage.Push(t.Context(), ref, img, transport); err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestDockerCLI runs the journeys in testdata/docker with the real docker CLI on one daemon.
func TestDockerCLI(t *testing.T) {
	azuretest.NeedsProgram(t, "docker")
	p := newPlayground(t)
	p.journeys(t, scripts{dir: "testdata/docker"})
	// One journey leaves a container that removes itself.
	if err := p.Call(t.Context(), http.MethodPost, "/containers/self/wait?condition=removed", nil, nil); err != nil &&
		!answered(err, http.StatusNotFound) {
		t.Error(err)
	}
	p.wantNothing(t)
}

// TestAttachToARun attaches moby's client to a run under way. The stream has the run's output, and ends with it.
func TestAttachToARun(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Attach = config.AttachOutput })
	gate := filepath.Join(p.dir, "gate")
	id := p.create(t, "late", container.Config{
		Entrypoint: []string{"/bin/sh"}, Cmd: []string{
			"-c", "printf '%9000s\n' late; while [ ! -e $0 ]; do sleep 0.02; done; printf end", gate,
		},
	})
	p.must(t, http.MethodPost, "/containers/late/start", nil, nil)
	c, err := moby.New(moby.WithHost("unix://" + p.socket))
	if err != nil {
		t.Fatal(err)
	}
	attached, err := c.ContainerAttach(t.Context(), id, moby.ContainerAttachOptions{Stream: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(attached.Reader)
	long, end := fmt.Sprintf("%9000s\n", "late"), "\x01\x00\x00\x00\x00\x00\x00\x03end"
	if err != nil || len(content) < 8 || string(content[8:]) != long+end {
		t.Errorf("got %q, %v", content, err)
	}
	p.must(t, http.MethodPost, "/containers/late/wait", nil, nil)
	p.must(t, http.MethodDelete, "/containers/late", nil, nil)
	p.wantNothing(t)
}

// wantNothing expects that no container and no function app is left, now or soon. A failed test may leave some.
func (p *playground) wantNothing(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	azuretest.Eventually(t, "an empty list of containers", func() bool {
		var left []container.Summary
		p.must(t, http.MethodGet, "/containers?all=1", nil, &left)
		return len(left) == 0
	})
	if len(p.sim.Sites()) > 0 {
		t.Errorf("left: function apps %v", p.sim.Sites())
	}
}

// TestMobyClient takes a container through its life with moby's own Go client, which negotiates the version.
func TestMobyClient(t *testing.T) {
	p := newPlayground(t)
	c, err := moby.New(moby.WithHost("unix://" + filepath.Join(p.dir, "s")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := t.Context()
	pull, err := c.ImagePull(ctx, p.image, moby.ImagePullOptions{})
	if err == nil {
		err = errors.Join(pull.Wait(ctx), pull.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	created, err := c.ContainerCreate(
		ctx,
		moby.ContainerCreateOptions{Name: "moby", Config: &container.Config{Image: p.image, Cmd: []string{"hello", "moby"}}},
	)
	if err != nil || len(created.Warnings) > 0 {
		t.Fatal(created, err)
	}
	// The SDKs' way: wait first, start when the headers are there.
	waited := c.ContainerWait(ctx, created.ID, moby.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := c.ContainerStart(ctx, created.ID, moby.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case res := <-waited.Result:
		if res.StatusCode != 0 || res.Error != nil {
			t.Errorf("got %+v", res)
		}
	case err := <-waited.Error:
		t.Fatal(err)
	}
	logs, err := c.ContainerLogs(ctx, "moby", moby.ContainerLogsOptions{ShowStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(logs)
	if err := errors.Join(err, logs.Close()); err != nil || !strings.HasSuffix(string(content), "Hello, moby!\n") {
		t.Errorf("got %q, %v", content, err)
	}
	list, err := c.ContainerList(ctx, moby.ContainerListOptions{All: true, Filters: moby.Filters{}.Add("name", "moby")})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := c.ContainerInspect(ctx, "nobody", moby.ContainerInspectOptions{}); err == nil ||
		!strings.Contains(err.Error(), "No such container: nobody") {
		t.Errorf("got %v", err)
	}
	if _, err := c.ExecCreate(ctx, "moby", moby.ExecCreateOptions{Cmd: []string{"ls"}}); err == nil ||
		!strings.Contains(err.Error(), "does not support exec") {
		t.Errorf("got %v", err)
	}
	// A client that leaves while it waits leaves the container alone.
	leaving, leave := context.WithCancel(ctx)
	waited = c.ContainerWait(leaving, "moby", moby.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	leave()
	if err := <-waited.Error; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := c.ContainerRemove(ctx, "moby", moby.ContainerRemoveOptions{}); err != nil {
		t.Error(err)
	}
}

// TestLongDockerode takes a container through its life with the Docker SDK of Node.
func TestLongDockerode(t *testing.T) {
	azuretest.NeedsProgram(t, "npm")
	p := newPlayground(t)
	cmd := exec.CommandContext(t.Context(), "node", "testdata/dockerode/journey.js", p.socket, p.image)
	cmd.Env = append(os.Environ(), "NODE_PATH="+p.dockerode(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// dockerode installs the Docker SDK of Node, and returns the folder for NODE_PATH.
func (p *playground) dockerode(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(p.dir, "node")
	if err := os.CopyFS(dir, os.DirFS("testdata/dockerode")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules")
}
