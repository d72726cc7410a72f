package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/goccy/go-yaml"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// theirImage is the image that the examples run. The demo's takes its place.
const theirImage = "myregistry.azurecr.io/report:1"

// secret is the value of a variable that the container gets and no command line holds.
const secret = "s3cret-token"

// demo is a running "demo --serve".
type demo struct {
	socket, image string
	home          string // where the docker CLI looks for its configuration
}

// startDemo builds the daemon and runs its demo until the test ends.
func startDemo(t *testing.T) demo {
	t.Helper()
	dir := azuretest.ShortDir(t)
	binary := filepath.Join(dir, "azf")
	if err := os.WriteFile(binary, azuretest.BuildProgram(t, "../cmd/sockerless-backend-azf"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "demo", "--serve", "--json", "--state-dir", filepath.Join(dir, "d"))
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the demo: %v", err)
		}
	})
	for steps := bufio.NewScanner(stdout); steps.Scan(); {
		var step struct{ Step, Socket, Image, Error string }
		if err := json.Unmarshal(steps.Bytes(), &step); err != nil || step.Error != "" {
			t.Fatalf("the demo's line %q: %v", steps.Text(), err)
		}
		if step.Step == "serving" {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return demo{socket: "unix://" + step.Socket, image: step.Image, home: dir}
		}
	}
	t.Fatal("the demo ended early")
	return demo{}
}

// environ returns the environment of a CI job: little, and without the secret unless extra holds it.
func (d demo) environ(extra ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.home, "DOCKER_HOST=" + d.socket}, extra...)
}

// result is how a process ended.
type result struct {
	code           int
	stdout, stderr string
}

func execute(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// nothingLeft checks that the daemon knows no container.
func (d demo) nothingLeft(t *testing.T) {
	t.Helper()
	cmd := exec.Command("docker", "ps", "--all", "--format", "{{.Names}} {{.Status}}")
	cmd.Env = d.environ()
	if got := execute(t, cmd); got.code != 0 || got.stdout != "" {
		t.Errorf("docker ps: %+v, want no container", got)
	}
}

func TestBatchContainers(t *testing.T) {
	azuretest.Needs(t, "terraform")
	azuretest.NeedsProgram(t, "docker")
	d := startDemo(t)
	t.Run("script", func(t *testing.T) { testScript(t, d) })
	t.Run("signals", func(t *testing.T) { testSignals(t, d) })
	t.Run("CI jobs", func(t *testing.T) { testJobs(t, d) })
	t.Run("timer", func(t *testing.T) { testTimer(t, d) })
}

// testScript runs batch.sh by itself, as all others do.
func testScript(t *testing.T, d demo) {
	for name, row := range map[string]struct {
		args   []string
		env    []string
		code   int
		stdout string
		stderr string
	}{
		"success": {args: []string{d.image, "hello", "batch"}, stdout: "Hello, batch!"},
		"exit code": {
			args: []string{d.image, "sh", "-c", "echo out; echo err >&2; exit 3"}, code: 3, stdout: "out", stderr: "err",
		},
		"secret": {
			args: []string{d.image, "sh", "-c", `test "$T" = ` + secret}, env: []string{"BATCH_ENV=T", "T=" + secret},
		},
		"image does not exist": {args: []string{d.image + "-not", "hello"}, code: 125, stderr: "-not"},
		"no image":             {code: 125, stderr: "usage: "},
		"given name": {
			args: []string{d.image, "hello"}, env: []string{"BATCH_NAME=nightly"}, stdout: "Hello, !",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", append([]string{"ci/batch.sh"}, row.args...)...)
			cmd.Env = d.environ(row.env...)
			got := execute(t, cmd)
			if got.code != row.code || !strings.Contains(got.stdout, row.stdout) || !strings.Contains(got.stderr, row.stderr) {
				t.Errorf("got %+v, want exit code %d, %q and %q", got, row.code, row.stdout, row.stderr)
			}
			d.nothingLeft(t)
		})
	}
}

// testSignals interrupts batch.sh while its container runs: the script ends as told, and the container is removed.
func testSignals(t *testing.T, d demo) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd := exec.Command("sh", "ci/batch.sh", d.image, "sh", "-c", "echo running; sleep 600")
			cmd.Env = d.environ("BATCH_NAME=interrupted")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			azuretest.Eventually(t, "the command runs", func() bool {
				logs := exec.Command("docker", "logs", "interrupted")
				logs.Env = d.environ()
				return strings.Contains(execute(t, logs).stdout, "running")
			})
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != code {
				t.Errorf("exit code %d, want %d (%v)", got, code, err)
			}
			d.nothingLeft(t)
		})
	}
}

// testJobs runs the command line that each CI system's job has, with the job's variables.
func testJobs(t *testing.T, d demo) {
	var github struct {
		Jobs map[string]struct {
			Env   map[string]string
			Steps []struct {
				Run string
				Env map[string]string
			}
		}
	}
	readYAML(t, "ci/github.yml", &github)
	report := github.Jobs["report"]
	step := report.Steps[len(report.Steps)-1]
	d.runJob(t, "github", report.Env["DOCKER_HOST"], step.Env["BATCH_ENV"], step.Run)

	var gitlab struct {
		Report struct {
			Variables map[string]string
			Script    []string
		}
	}
	readYAML(t, "ci/gitlab.yml", &gitlab)
	d.runJob(t, "gitlab", gitlab.Report.Variables["DOCKER_HOST"], gitlab.Report.Variables["BATCH_ENV"],
		strings.Join(gitlab.Report.Script, "\n"))
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// runJob runs a job's script twice in a repository with ci/batch.sh: as it is, and with a command that fails.
func (d demo) runJob(t *testing.T, name, host, variables, script string) {
	t.Run(name, func(t *testing.T) {
		if host != unitOption(t, "systemd/sockerless-backend-azf.socket", "Socket.ListenStream", "unix://") {
			t.Errorf("the job uses the socket %q", host)
		}
		repository := t.TempDir()
		if err := os.CopyFS(filepath.Join(repository, "ci"), os.DirFS("ci")); err != nil {
			t.Fatal(err)
		}
		const command = "hello report"
		if strings.Count(script, theirImage+" "+command) != 1 || strings.Contains(script, "$") {
			t.Fatalf("the job's script is %q", script)
		}
		script = strings.ReplaceAll(script, theirImage, d.image)
		failing := strings.ReplaceAll(script, command, `sh -c 'test "$REPORT_TOKEN" = `+secret+` && exit 3'`)
		for line, want := range map[string]result{script: {stdout: "Hello, report!"}, failing: {code: 3}} {
			cmd := exec.Command("sh", "-e", "-c", line)
			cmd.Dir = repository
			cmd.Env = d.environ("BATCH_ENV="+variables, "REPORT_TOKEN="+secret)
			if got := execute(t, cmd); got.code != want.code || !strings.Contains(got.stdout, want.stdout) {
				t.Errorf("%s: got %+v, want %+v", line, got, want)
			}
		}
		d.nothingLeft(t)
	})
}

// testTimer runs the service's command line as systemd does: no shell, and no other environment than the unit's.
func testTimer(t *testing.T, d demo) {
	const service = "timer/azf-batch.service"
	socket := unitOption(t, "systemd/sockerless-backend-azf.socket", "Socket.ListenStream", "unix://")
	if !slices.Contains(unitOptions(t, service)["Service.Environment"], "DOCKER_HOST="+socket) {
		t.Error("the service does not use the daemon's socket")
	}
	if schedule := unitOption(t, "timer/azf-batch.timer", "Timer.OnCalendar", ""); schedule == "" {
		t.Error("the timer has no schedule")
	}
	args := strings.Fields(unitOption(t, service, "Service.ExecStart", ""))
	if len(args) < 2 || args[0] != "/usr/local/bin/azf-batch" || args[1] != theirImage {
		t.Fatalf("the service runs %q", args)
	}
	for _, want := range []result{{stdout: "Hello, report!"}, {code: 3}} {
		command := args[2:]
		if want.code != 0 {
			command = []string{"sh", "-c", `test "$REPORT_TOKEN" = ` + secret + ` && exit 3`}
		}
		cmd := exec.Command("ci/batch.sh", append([]string{d.image}, command...)...)
		for _, entry := range unitOptions(t, service)["Service.Environment"] {
			if !strings.HasPrefix(entry, "DOCKER_HOST=") && !strings.HasPrefix(entry, "HOME=") {
				cmd.Env = append(cmd.Env, entry)
			}
		}
		cmd.Env = append(cmd.Env, d.environ("REPORT_TOKEN="+secret)...)
		if got := execute(t, cmd); got.code != want.code || !strings.Contains(got.stdout, want.stdout) {
			t.Errorf("%q: got %+v, want %+v", command, got, want)
		}
	}
	d.nothingLeft(t)
}

// TestSecretsAreInNoCommandLine reads how the script hands variables to docker: by name only.
func TestSecretsAreInNoCommandLine(t *testing.T) {
	content, err := os.ReadFile("ci/batch.sh")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`--env\s+\S+`).FindAllString(string(content), -1)
	if len(found) != 1 || found[0] != `--env "$variable"` {
		t.Errorf("the script passes %q", found)
	}
	bin, arguments := t.TempDir(), filepath.Join(t.TempDir(), "arguments")
	docker := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s\n[ \"$1\" != wait ] || echo 0\n", arguments)
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "ci/batch.sh", "image", "command", "an argument")
	cmd.Env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "BATCH_NAME=n", "BATCH_ENV=A B", "A=" + secret, "B=" + secret,
	}
	if got := execute(t, cmd); got.code != 0 {
		t.Errorf("got %+v", got)
	}
	got, err := os.ReadFile(arguments)
	if err != nil {
		t.Fatal(err)
	}
	want := "create --name n --env B --env A image command an argument\nstart n\nwait n\nlogs n\nrm --force n\n"
	if string(got) != want {
		t.Errorf("docker got\n%s\nwant\n%s", got, want)
	}
}

// unitOptions returns the options of a systemd unit by section.name.
func unitOptions(t *testing.T, path string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	options, err := unit.DeserializeOptions(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	values := map[string][]string{}
	for _, o := range options {
		key := o.Section + "." + o.Name
		values[key] = append(values[key], o.Value)
	}
	return values
}

// unitOption returns an option that a unit has once, behind a prefix.
func unitOption(t *testing.T, path, key, prefix string) string {
	t.Helper()
	values := unitOptions(t, path)[key]
	if len(values) != 1 {
		t.Fatalf("%s has %d of %s, want one", path, len(values), key)
	}
	return prefix + values[0]
}
