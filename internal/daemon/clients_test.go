package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// systemPython is the interpreter that Debian's python3-* packages belong to; another one may be first on PATH.
const systemPython = "/usr/bin/python3"

// stuck is the time after which a client that has not ended is killed.
const stuck = 5 * time.Minute

// needsPython is azuretest.NeedsProgram for a module of the system's Python.
func needsPython(t *testing.T, module, debian string) {
	t.Helper()
	azuretest.Needs(t, debian)
	if out, err := exec.CommandContext(t.Context(), systemPython, "-c", "import "+module).CombinedOutput(); err != nil {
		t.Fatalf("this test needs Debian's %s (make programs installs it where it may): %v\n%s", debian, err, out)
	}
}

// needsComposeV1 is azuretest.NeedsProgram for the compose that is written in Python.
func needsComposeV1(t *testing.T) {
	t.Helper()
	azuretest.NeedsProgram(t, "docker-compose")
	out, err := exec.CommandContext(t.Context(), "docker-compose", "version", "--short").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "1.") {
		t.Fatalf("this test needs compose 1 as docker-compose, which Debian 12 has: %v\n%s", err, out)
	}
}

// composePlugin returns the path of the docker CLI's plugin compose. Go builds it once, and keeps it in its cache.
func composePlugin(t *testing.T) string {
	t.Helper()
	azuretest.NeedsProgram(t, "docker")
	// With -n, go tool builds the program, runs nothing and prints the path.
	build := exec.CommandContext(t.Context(), "go", "tool", "-n", "-modfile=../tools/compose/go.mod",
		"github.com/docker/compose/v5/cmd")
	build.Stderr = t.Output()
	path, err := build.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(path))
}

// scripts are a folder of journeys and what these need.
type scripts struct {
	// dir holds the journeys as *.txt, and files that they use.
	dir string
	// env holds variables beside those that every journey has.
	env map[string]string
	// plugin is the path of the docker CLI's plugin compose, empty if no journey needs it.
	plugin string
	// condition reports whether a condition of a script holds.
	condition func(name string) (bool, error)
}

// journeys runs scripts, side by side, each with an image of its own. They find the image's name in IMAGE, the
// daemon in DOCKER_HOST, and the folder's other files below files.
func (p *playground) journeys(t *testing.T, s scripts) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	images := map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		images[name] = p.push(t, name)
	}
	socket := "unix://" + p.socket
	t.Run("journeys", func(t *testing.T) { // ends when all scripts have ended
		testscript.Run(t, testscript.Params{
			Dir: s.dir, RequireExplicitExec: true, RequireUniqueNames: true, Condition: s.condition,
			Deadline: time.Now().Add(stuck),
			Setup: func(env *testscript.Env) error {
				env.Setenv("DOCKER_HOST", socket)
				env.Setenv("SOCKET", socket)
				env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, ".docker"))
				env.Setenv("HOME", env.WorkDir)
				env.Setenv("PYTHON", systemPython)
				env.Setenv("LC_ALL", "C.UTF-8") // Ansible refuses to work without UTF-8
				env.Setenv("REGISTRY", p.sim.Registry())
				env.Setenv("IMAGE", images[strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")])
				for name, value := range s.env {
					env.Setenv(name, value)
				}
				if s.plugin != "" {
					plugins := filepath.Join(env.WorkDir, ".docker/cli-plugins")
					if err := os.MkdirAll(plugins, 0o700); err != nil {
						return err
					}
					if err := os.Symlink(s.plugin, filepath.Join(plugins, "docker-compose")); err != nil {
						return err
					}
				}
				return os.CopyFS(filepath.Join(env.WorkDir, "files"), os.DirFS(s.dir))
			},
		})
	})
}

// TestLongDockerCLIInOlderVersions takes a container its way as docker CLIs of other years do.
func TestLongDockerCLIInOlderVersions(t *testing.T) {
	azuretest.NeedsProgram(t, "docker")
	p := newPlayground(t)
	for _, version := range []string{"1.24", "1.41", "1.44"} {
		t.Run(version, func(t *testing.T) {
			p.journeys(t, scripts{
				dir: "testdata/docker-versions", env: map[string]string{"DOCKER_API_VERSION": version},
				condition: func(string) (bool, error) { return version != "1.24", nil },
			})
		})
	}
	p.wantNothing(t)
}

// TestLongDockerPy takes containers their way with the Docker SDK for Python.
func TestLongDockerPy(t *testing.T) {
	needsPython(t, "docker", "python3-docker")
	p := newPlayground(t)
	p.journeys(t, scripts{dir: "testdata/docker-py"})
	p.wantNothing(t)
}

// TestLongComposeV1 brings services up and down with the compose that is written in Python.
func TestLongComposeV1(t *testing.T) {
	needsComposeV1(t)
	p := newPlayground(t)
	p.journeys(t, scripts{dir: "testdata/compose-v1"})
	p.wantNothing(t)
}

// TestLongComposeV2 brings services up and down with the docker CLI's plugin compose.
func TestLongComposeV2(t *testing.T) {
	plugin := composePlugin(t)
	p := newPlayground(t)
	p.journeys(t, scripts{dir: "testdata/compose-v2", plugin: plugin})
	p.wantNothing(t)
}

// TestLongAnsible has containers started, described and removed by Ansible's collection community.docker.
func TestLongAnsible(t *testing.T) {
	azuretest.NeedsProgram(t, "ansible-playbook")
	p := newPlayground(t)
	p.journeys(t, scripts{dir: "testdata/ansible"})
	p.wantNothing(t)
}

// TestLongOfelia runs jobs as the scheduler ofelia does, with the Docker client that it uses.
func TestLongOfelia(t *testing.T) {
	azuretest.Needs(t, "a Go module proxy")
	p := newPlayground(t)
	bin := filepath.Join(p.dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/ofelia", "-o", bin+"/ofelia", ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.journeys(t, scripts{dir: "testdata/ofelia", env: map[string]string{"PATH": bin + ":" + os.Getenv("PATH")}})
	p.wantNothing(t)
}

// TestLongForegroundClients runs the journeys that need the setting attach: output, with all clients.
func TestLongForegroundClients(t *testing.T) {
	azuretest.NeedsProgram(t, "npm")
	needsPython(t, "docker", "python3-docker")
	needsComposeV1(t)
	plugin := composePlugin(t)
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Attach = config.AttachOutput })
	p.journeys(t, scripts{
		dir: "testdata/attach", plugin: plugin, env: map[string]string{"NODE_PATH": p.dockerode(t)},
	})
	p.wantNothing(t)
}
