package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/demo"
)

// TestServeOnASimulator runs the installed program with nothing but settings, trust and a proxy that lead to a
// simulator: to the program it is a cloud like any other.
func TestServeOnASimulator(t *testing.T) {
	dir := azuretest.ShortDir(t)
	sim, err := azuresim.Start(azuresim.Config{
		Dir: filepath.Join(dir, "azuresim"), Log: zerolog.Nop(), Shared: azuresim.Programs(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}()
	image, socket := sim.Registry()+"/examples/hello:1", filepath.Join(dir, "s")
	err = demo.PushExample(t.Context(), sim, image, "../..", filepath.Join(dir, "build"), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	program := func(command string, args ...string) *exec.Cmd {
		cmd := installed(t, dir, append([]string{command, "--config=", "--cloud", sim.URL(),
			"--subscription-id", azuresim.DefaultSubscriptionID,
			"--resource-group", azuresim.DefaultResourceGroup, "--location", azuresim.DefaultLocation,
			"--storage-account", azuresim.DefaultStorageAccount, "--service-plan-sku", "B1", "--log-level", "warn",
			"--state-dir", state, "--listen", "unix://" + socket}, args...)...)
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+sim.CAFile(), "HTTPS_PROXY="+sim.ProxyURL(), "NO_PROXY=")
		for name, value := range sim.Access().CredentialEnv() {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		return cmd
	}
	cmd := program("serve")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }() // fails when it has ended
	c := client.New("unix", socket)
	defer c.Close()
	azuretest.Eventually(t, "the daemon answers", func() bool {
		return c.Call(t.Context(), http.MethodGet, "/capabilities", nil, nil) == nil
	})
	must := func(method, path string, in, out any) {
		t.Helper()
		if err := c.Call(t.Context(), method, path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	must(http.MethodPost, "/containers?name=real", api.CreateRequest{
		Config: &api.Config{Image: image, Cmd: []string{"hello", "-exit", "3", "cloud"}},
	}, nil)
	must(http.MethodPost, "/containers/real/start", nil, nil)
	var waited api.WaitResponse
	must(http.MethodPost, "/containers/real/wait", nil, &waited)
	if waited.StatusCode != 3 {
		t.Errorf("exit status %d, want 3", waited.StatusCode)
	}
	must(http.MethodDelete, "/containers/real", nil, nil)
	for changes, want := range map[string]string{
		"apply":   "The daemon refuses this plan: ",
		"replace": "The daemon applies this plan with the next create, because foundation_changes is replace: ",
	} {
		out, err := program("plan", "--location", "northeurope", "--foundation-changes", changes).Output()
		if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "northeurope") {
			t.Errorf("plan with %s: %v\n%s", changes, err, out)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Without the simulator, a daemon that has known it starts, and one that has not does not.
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	again := program("serve")
	var log strings.Builder
	again.Stderr = &log
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	azuretest.Eventually(t, "the daemon answers without its cloud", func() bool {
		return c.Call(t.Context(), http.MethodGet, "/capabilities", nil, nil) == nil
	})
	if err := again.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	for _, want := range []string{"starts with the endpoints that it read before", "the login could not be reached"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, &log)
		}
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	out, err := program("serve").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cloud "+sim.URL()+": ask for its endpoints") {
		t.Errorf("without a cloud: %v\n%s", err, out)
	}
}
