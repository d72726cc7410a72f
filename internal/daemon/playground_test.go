package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// sitePath matches the function app alone, not what lies below it.
var sitePath = regexp.MustCompile(`/sites/[^/]+$`)

// playground is a simulator with the example image and a running daemon.
type playground struct {
	*demo.Client
	sim    *azuresim.Sim
	tools  toolchain.Tools
	image  string
	dir    string
	socket string
	cfg    daemon.Config
	// database is that of one of several daemons, empty for SQLite.
	database string
	disk     int                    // bytes of the state folder's own file system, 0 if it has none
	clock    azuretest.ShiftedClock // of the simulator
	// stop ends the daemon; start starts the next one on the same state.
	stop  func()
	start func()

	mu      sync.Mutex
	process *process // in place of the daemon in this process: see spawn
}

func newPlayground(t *testing.T) *playground {
	t.Helper()
	return newPlaygroundWith(t, func(*daemon.Config) {})
}

// newPlaygroundWith lets change adapt the daemon's configuration at each start.
func newPlaygroundWith(t *testing.T, change func(*daemon.Config)) *playground {
	t.Helper()
	p := newAzure(t)
	p.start = func() {
		t.Helper()
		cfg, err := simulated(t.Context(), p.sim.Access(), p.sim.Transport(), p.dir, p.socket)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Tools, cfg.Log = p.tools, zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
		change(&cfg)
		p.cfg = cfg
		p.serve(t, cfg)
	}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

// simulated returns the configuration of a daemon on a simulator, without tools and log.
func simulated(
	ctx context.Context, sim azuresim.Access, transport http.RoundTripper, dir, socket string,
) (cfg daemon.Config, err error) {
	if cfg.Config, err = demo.Settings(filepath.Join(dir, "daemon"), socket); err != nil {
		return cfg, err
	}
	cfg.Version, cfg.Environ = "test", os.Environ()
	return cfg, demo.Connect(ctx, &cfg, sim, transport)
}

// stateDir returns the daemon's state folder, which the daemon may see on a file system of its own.
func (p *playground) stateDir() string {
	dir := filepath.Join(p.dir, "daemon")
	if p.disk > 0 {
		return filepath.Join("/proc", strconv.Itoa(p.process.cmd.Process.Pid), "root", dir)
	}
	return dir
}

// serve runs a daemon in this process.
func (p *playground) serve(t *testing.T, cfg daemon.Config) {
	t.Helper()
	d, err := daemon.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	p.stop = func() {
		p.Close()
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		p.stop = func() {}
	}
}

// newAzure is a playground without a daemon: the simulator, the example image in its registry, and a client.
func newAzure(t *testing.T) *playground {
	t.Helper()
	p := &playground{tools: cloudtest.Tools(t), dir: azuretest.ShortDir(t)}
	t.Setenv("TMPDIR", p.dir)
	var err error
	if p.sim, err = azuresim.Start(azuresim.Config{
		Dir: filepath.Join(p.dir, "azuresim"), Log: zerolog.Nop(), Now: p.clock.Now,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.sim.Close(); err != nil {
			t.Error(err)
		}
	})
	p.image = p.sim.Registry() + "/hello:1"
	err = demo.PushExample(t.Context(), p.sim, p.image, "../..", filepath.Join(p.dir, "build"), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	p.socket = filepath.Join(p.dir, "s")
	p.Client = demo.NewClient(p.socket)
	return p
}

// now is the time as a query parameter.
func (p *playground) now() string {
	return strconv.FormatFloat(float64(time.Now().UnixNano())/1e9, 'f', 9, 64)
}

func (p *playground) must(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if err := p.Call(t.Context(), method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

func (p *playground) create(t *testing.T, name string, config api.Config) string {
	t.Helper()
	if config.Image == "" {
		config.Image = p.image
	}
	var created api.CreateResponse
	p.must(t, http.MethodPost, "/containers?name="+name, api.CreateRequest{Config: &config}, &created)
	return created.ID
}

// TestOnlyTerraformChangesAzure goes demo's way and then reads what the simulator was asked.
func TestOnlyTerraformChangesAzure(t *testing.T) {
	p := newPlayground(t)
	if err := demo.Journey(t.Context(), demo.NewReport(io.Discard, true), p.Client, p.image, p.sim.Sites); err != nil {
		t.Fatal(err)
	}
	p.stop()
	writes, ours := 0, 0
	runs := map[string]bool{}
	for _, c := range p.sim.Calls() {
		if c.Service != "arm" {
			continue
		}
		byTerraform := strings.Contains(c.UserAgent, "terraform-provider-azurerm")
		if byTerraform {
			runs[c.CorrelationID] = true
		}
		switch {
		case c.Method == http.MethodGet:
		case !byTerraform && c.Method == http.MethodPost &&
			strings.HasSuffix(strings.ToLower(c.Path), "/host/default/listkeys"):
			ours++ // reads the host key
		case byTerraform:
			writes++
		default:
			t.Errorf("%s %s came from %q", c.Method, c.Path, c.UserAgent)
		}
	}
	if writes == 0 || ours == 0 {
		t.Errorf("saw %d writes and %d key reads: the test looks at nothing", writes, ours)
	}
	// One correlation id each for foundation, create and destroy.
	if delete(runs, ""); len(runs) != 3 {
		t.Errorf("saw correlation ids %v, want 3", runs)
	}
	for _, kind := range []string{"apply", "destroy"} {
		paths, err := filepath.Glob(filepath.Join(p.stateDir(), "workspaces/archive/*", kind+".operation.json"))
		if err != nil || len(paths) != 1 {
			t.Fatalf("found %v, %v", paths, err)
		}
		content, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		var verdict struct {
			ID string `json:"correlation_id"`
		}
		if err := json.Unmarshal(content, &verdict); err != nil || !runs[verdict.ID] {
			t.Errorf("the verdict names %q, %v; Azure saw %v", verdict.ID, err, runs)
		}
	}
}

func TestContainersTheWholeWay(t *testing.T) {
	p := newPlayground(t)
	nasty := "${x} %{if} $${y} \"q\" \\ 'a'\nsecond line"
	long := strings.Repeat("x", 64<<10)
	id := p.create(t, "first", api.Config{
		Cmd: []string{"hello", "-exit", "3", nasty}, Env: []string{"GREETING=" + nasty, "LONG=" + long},
		Labels: map[string]string{"plain": "v", "nasty": nasty, "long": long},
	})

	t.Run("it is found in Azure", func(t *testing.T) {
		azure, err := daemon.AzureView(p.cfg)
		if err != nil {
			t.Fatal(err)
		}
		const sites = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup + "/providers/Microsoft.Web/sites/"
		app, found, err := azure.Find(t.Context(), sites+"skls-"+id[:20])
		if err != nil || !found || app.Tags["sockerless-container-id"] != id || app.Tags["plain"] != "v" ||
			app.ID != sites+"skls-"+id[:20] {
			t.Errorf("got %+v, %v, %v", app, found, err)
		}
		if _, found, err := azure.Find(t.Context(), sites+"skls-none"); err != nil || found {
			t.Errorf("another name: got %v, %v", found, err)
		}
		apps, err := azure.FunctionApps(t.Context(), azuresim.DefaultResourceGroup)
		if err != nil || len(apps) != 1 || !maps.Equal(apps[0].Tags, app.Tags) {
			t.Errorf("got %+v, %v", apps, err)
		}
	})

	t.Run("strings arrive unchanged", func(t *testing.T) {
		p.must(t, http.MethodPost, "/containers/first/start", nil, nil)
		var res api.WaitResponse
		p.must(t, http.MethodPost, "/containers/first/wait", nil, &res)
		if res.StatusCode != 3 || res.Error != nil {
			t.Errorf("got %+v, want exit code 3", res)
		}
		stream, err := p.Raw(t.Context(), "/containers/first/logs?stdout=1")
		if err != nil {
			t.Fatal(err)
		}
		lines, err := demo.Demultiplex(stream)
		if err != nil || strings.ReplaceAll(strings.Join(lines, "\n"), "stdout: ", "") != nasty+", "+nasty+"!" {
			t.Errorf("got %q, %v", lines, err)
		}
	})

	t.Run("a start can be repeated", func(t *testing.T) {
		p.must(t, http.MethodPost, "/containers/first/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/first/wait", nil, nil)
	})

	t.Run("the next daemon knows it", func(t *testing.T) {
		p.stop()
		p.start()
		var info api.InspectResponse
		p.must(t, http.MethodGet, "/containers/"+id[:12], nil, &info)
		if info.ID != id || info.State.ExitCode != 3 || info.Config.Labels["nasty"] != nasty || info.AZF.TraceID == "" {
			t.Errorf("got %+v", info)
		}
		var list []api.Summary
		p.must(t, http.MethodGet, "/containers?all=1", nil, &list)
		if len(list) != 1 || list[0].State != "exited" {
			t.Errorf("got %+v", list)
		}
	})

	t.Run("lines come from Log Analytics when there are too many", func(t *testing.T) {
		// 40,000 lines of 30 bytes do not fit into the answer.
		p.create(t, "many", api.Config{Cmd: []string{"/bin/sh", "-c", "seq -f 'line %.0f of very many lines' 40000"}})
		p.must(t, http.MethodPost, "/containers/many/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/many/wait", nil, nil)
		stream, err := p.Raw(t.Context(), "/containers/many/logs?stdout=1&stderr=1")
		if err != nil {
			t.Fatal(err)
		}
		lines, err := demo.Demultiplex(stream)
		if err != nil || len(lines) != 40000 || lines[0] != "stdout: line 1 of very many lines" ||
			lines[39999] != "stdout: line 40000 of very many lines" {
			t.Errorf("got %d lines, %v", len(lines), err)
		}
		p.must(t, http.MethodDelete, "/containers/many", nil, nil)
	})

	t.Run("a refused create leaves nothing", func(t *testing.T) {
		before := p.sim.Sites()
		p.sim.SetFaults(
			azuresim.Faults{
				Rules: []azuresim.Rule{
					{Method: http.MethodPut, Path: sitePath, Status: http.StatusForbidden, Code: "AuthorizationFailed"},
				},
			},
		)
		err := p.Call(
			t.Context(),
			http.MethodPost,
			"/containers?name=refused",
			api.CreateRequest{Config: &api.Config{Image: p.image}},
			nil,
		)
		p.sim.SetFaults(azuresim.Faults{})
		if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "AuthorizationFailed") {
			t.Errorf("got %v, want Azure's reason", err)
		}
		if err := p.Call(t.Context(), http.MethodGet, "/containers/refused", nil, nil); err == nil ||
			!strings.Contains(err.Error(), "404") {
			t.Errorf("got %v, want it gone", err)
		}
		if after := p.sim.Sites(); !slices.Equal(before, after) {
			t.Errorf("function apps were %v and are %v", before, after)
		}
	})

	t.Run("state that was lost is not taken for none", func(t *testing.T) {
		state := filepath.Join(p.stateDir(), "workspaces/containers", id, "terraform.tfstate")
		content, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		if err := p.Call(t.Context(), http.MethodDelete, "/containers/first", nil, nil); err == nil ||
			!strings.Contains(err.Error(), "state is missing") {
			t.Errorf("got %v, want a loud refusal", err)
		}
		if len(p.sim.Sites()) != 1 {
			t.Errorf("function apps: %v, want the one", p.sim.Sites())
		}
		if err := os.WriteFile(state, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p.must(t, http.MethodDelete, "/containers/first", nil, nil)
		if len(p.sim.Sites()) != 0 {
			t.Errorf("function apps left: %v", p.sim.Sites())
		}
	})

	t.Run("the archive keeps files and no secret in readable plans", func(t *testing.T) {
		dir := filepath.Join(p.stateDir(), "workspaces/archive", id)
		for _, name := range []string{"main.tf", "terraform.tfvars.json", "apply.tfplan", "apply.jsonl", "apply.operation.json", "destroy.tfplan", "destroy.jsonl", "destroy.operation.json"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"apply.plan.json", "destroy.plan.json", "apply.jsonl", "destroy.jsonl"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{long[:1000], "AccountKey=", "InstrumentationKey="} {
				if bytes.Contains(content, []byte(secret)) {
					t.Errorf("%s holds %.20s", name, secret)
				}
			}
		}
		err := filepath.WalkDir(p.stateDir(), func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			// What terraform init makes again holds no secret and lies in a closed folder.
			if err == nil && !strings.Contains(path, "/.terraform/") && info.Mode()&os.ModeSymlink == 0 &&
				info.Mode()&os.ModeSocket == 0 &&
				info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestSecondDaemonIsRefused(t *testing.T) {
	p := newPlayground(t)
	_, err := daemon.New(t.Context(), p.cfg)
	if err == nil || !strings.Contains(err.Error(), "in use by another daemon") {
		t.Errorf("got %v, want a refusal", err)
	}
}
