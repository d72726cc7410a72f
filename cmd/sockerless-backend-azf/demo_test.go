package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/demo"
)

// installed returns a command that runs the program as it is installed: outside a checkout, on a machine without Go,
// with azf-handler beside it. Its temporary files are in dir.
func installed(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cloudtest.Tools(t) // which the program finds in the cache
	folder := t.TempDir()
	program := filepath.Join(folder, "sockerless-backend-azf")
	err := errors.Join(os.WriteFile(program, azuretest.BuildProgram(t, "."), 0o700),
		os.WriteFile(filepath.Join(folder, "azf-handler"), azuretest.BuildProgram(t, "../azf-handler"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	path := slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(folder string) bool {
		_, err := os.Stat(filepath.Join(folder, "go"))
		return err == nil
	})
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "PATH="+strings.Join(path, string(filepath.ListSeparator)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// nothingLeft checks that a demo with its temporary files in dir left neither files nor processes.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v, %v", left, err)
	}
	left := azuretest.Processes(t, func(p azuretest.Process) bool { return p.Getenv("TMPDIR") == dir })
	if len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func TestDemoLeavesNothing(t *testing.T) {
	t.Run("containers", func(t *testing.T) {
		dir := azuretest.ShortDir(t)
		demoLeavesNothing(t, dir, installed(t, dir, "demo", "--json"))
	})
	t.Run("without namespaces", func(t *testing.T) {
		dir := azuretest.ShortDir(t)
		cmd := installed(t, dir, "demo", "--json")
		if _, err := container.Supported(); err == nil {
			refuseNamespaces(cmd)
		}
		azure := demoLeavesNothing(t, dir, cmd)["azure"]
		if len(azure.Lines) != 1 || !strings.HasPrefix(azure.Lines[0], "commands run on this machine, and see its files: ") {
			t.Errorf("azure: %+v", azure)
		}
	})
}

// refuseNamespaces has the kernel refuse mount namespaces to a command (namespaces(7)).
func refuseNamespaces(cmd *exec.Cmd) {
	const script = `echo 0 >/proc/sys/user/max_mnt_namespaces && exec "$@"`
	cmd.Args = append([]string{"sh", "-c", script, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
}

// demoLeavesNothing takes the journey of a demo whose temporary files are in dir, and returns its steps.
func demoLeavesNothing(t *testing.T, dir string, cmd *exec.Cmd) map[string]demo.Step {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, &stderr)
	}
	steps := map[string]demo.Step{}
	for line := range bytes.Lines(stdout) {
		var s demo.Step
		if err := json.Unmarshal(line, &s); err != nil || !s.OK {
			t.Errorf("%s: %v", line, err)
		}
		steps[s.Step] = s
	}
	for _, name := range []string{
		"tools", "azure", "image", "daemon", "policy", "create", "start", "wait", "logs", "remove", "left",
	} {
		if _, ok := steps[name]; !ok {
			t.Errorf("no step %s in\n%s", name, stdout)
		}
	}
	create := steps["create"]
	if create.Plan != "1 to add, 0 to change, 0 to destroy" || !strings.HasPrefix(create.FunctionApp, "skls-") ||
		!strings.Contains(create.Workspace, "/workspaces/containers/") ||
		!strings.HasPrefix(create.Wrapped, "demo.azurecr.io/sockerless/wrapped@sha256:") {
		t.Errorf("create: %+v", create)
	}
	if code := steps["wait"].ExitCode; code == nil || *code != 0 {
		t.Errorf("wait: %+v", steps["wait"])
	}
	lines := steps["logs"].Lines
	if !slices.Contains(lines, "stdout: Greetings, from Azure Functions!") || len(lines) != 2 {
		t.Errorf("logs: %q", lines)
	}
	if left := steps["left"].FunctionApps; left == nil || *left != 0 {
		t.Errorf("left: %+v", steps["left"])
	}
	nothingLeft(t, dir)
	return steps
}

// TestDemoServes starts a demo with settings from file, environment and flags, and runs the commands that it prints.
func TestDemoServes(t *testing.T) {
	azuretest.NeedsProgram(t, "docker")
	azuretest.NeedsProgram(t, "curl")
	dir, other := azuretest.ShortDir(t), azuretest.ShortDir(t)
	socket, file := filepath.Join(other, "s"), filepath.Join(other, "config.yaml")
	const subscription = "11111111-2222-3333-4444-555555555555"
	settings := "azf:\n  subscription_id: " + subscription + "\n  resource_group: own-rg\n  location: northeurope\n" +
		"  storage_account: ownstore\n  timeout: 30\n"
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := installed(t, dir, "demo", "--serve", "--config", file, "--listen", "unix://"+socket, "--socket-mode", "0600")
	cmd.Env = append(cmd.Env, "SOCKERLESS_AZF_TIMEOUT=300", "SOCKERLESS_AZF_SERVICE_PLAN_SKU=EP1")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails when it has ended
	var shown strings.Builder
	for lines := bufio.NewScanner(stdout); !strings.Contains(shown.String(), "docker context rm") && lines.Scan(); {
		shown.WriteString(lines.Text() + "\n")
	}
	t.Run("settings count", func(t *testing.T) { settingsCount(t, socket, subscription, shown.String()) })
	t.Run("commands", func(t *testing.T) { commandsWork(t, dir, shown.String()) })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	nothingLeft(t, dir)
}

// settingsCount checks the settings of TestDemoServes on a container.
func settingsCount(t *testing.T, socket, subscription, shown string) {
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	c := client.New("unix", socket)
	defer c.Close()
	var caps api.Capabilities
	err = c.Call(t.Context(), http.MethodGet, "/capabilities", nil, &caps)
	if err != nil || caps.Backend != "azf" || caps.MaxTimeoutSeconds != 300 {
		t.Errorf("got %+v, %v", caps, err)
	}
	image := regexp.MustCompile(`The image is (\S+)`).FindStringSubmatch(shown)
	if image == nil || !strings.Contains(image[1], "hello") {
		t.Fatalf("no image in\n%s", shown)
	}
	create := api.CreateRequest{Config: &api.Config{Image: image[1]}}
	if err := c.Call(t.Context(), http.MethodPost, "/containers?name=mine", create, nil); err != nil {
		t.Fatal(err)
	}
	var created api.InspectResponse
	err = c.Call(t.Context(), http.MethodGet, "/containers/mine", nil, &created)
	if want := "/subscriptions/" + subscription + "/resourceGroups/own-rg/"; err != nil ||
		!strings.HasPrefix(created.AZF.ResourceID, want) {
		t.Errorf("got %+v, %v, want a function app in %s", created.AZF, err, want)
	}
	beside := fmt.Sprintf("sha256:%x", sha256.Sum256(azuretest.BuildProgram(t, "../azf-handler")))
	if d := created.AZF.Derived; d == nil || d.Handler != beside {
		t.Errorf("derived %+v, want it with the azf-handler beside the program, %s", d, beside)
	}
	if err := c.Call(t.Context(), http.MethodDelete, "/containers/mine", nil, nil); err != nil {
		t.Error(err)
	}
}

// commandsWork runs the commands that a demo printed.
func commandsWork(t *testing.T, dir, shown string) {
	// The commands are indented, and what is between them is not.
	script := "set -e\n" + strings.Join(regexp.MustCompile(`(?m)^  .*$`).FindAllString(shown, -1), "\n")
	script = script[strings.Index(script, "  api() {"):]
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(t.TempDir(), "docker"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Hello, world!") || !strings.Contains(string(out), "Hello, docker!") {
		t.Errorf("%v:\n%s", err, out)
	}
	if strings.Contains(string(out), `{"message"`) {
		t.Errorf("a command was refused:\n%s", out)
	}
}

func TestDemoRefusals(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--state-dir " + dir:                "not empty",
		"now":                               "takes no arguments",
		"--unknown":                         "unknown",
		"--listen azf":                      "is not a valid address",
		"--listen tcp://127.0.0.1:0":        "the journey of a demo needs a unix socket",
		"--serve --listen tcp://0.0.0.0:80": "other machines could reach",
		"--tls-cert=/x":                     "a unix socket is not served over TLS",
		"--credential=managed-identity": "--credential: it cannot be used here: the simulator knows no credential but " +
			"its own",
		"--app-service-plan=mine": "--app-service-plan: it cannot be used here",
		"--registry=r.io":         "--registry: it cannot be used here: the simulator's is demo.azurecr.io",
		"--wrap=off":              "--wrap: it cannot be used here",
		"--timeout=0":             "--timeout: 0 is out of range",
	} {
		err := run(t.Context(), append([]string{"demo"}, strings.Fields(args)...), []string{"HOME=/"}, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || command.ExitStatus(err) != 2 {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}
