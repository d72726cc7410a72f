package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/command"
)

// build builds the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "azuresim")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// start starts the program with its temporary files in dir.
func start(t *testing.T, program, dir string, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "TMPDIR="+dir), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails when it has ended
	return cmd, bufio.NewReader(stdout)
}

// stop sends a signal and waits for a clean end.
func stop(t *testing.T, cmd *exec.Cmd, stdout io.Reader, signal os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("printed %q, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// token asks the simulator for a token of Resource Manager.
func token(t *testing.T, client *http.Client, f facts) string {
	t.Helper()
	res, err := client.PostForm(f.URL+"/"+f.TenantID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {f.ClientID}, "client_secret": {f.ClientSecret},
		"scope": {f.URL + "/.default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %s, %v", res.Status, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	return answer.Token
}

// TestProcess starts the program with names of its own, uses it with the facts that it prints, and wants nothing left.
func TestProcess(t *testing.T) {
	dir := azuretest.ShortDir(t)
	cmd, stdout := start(t, build(t), dir, "--json", "--resource-group", "ci", "--storage-account", "cistore",
		"--client-id", "11111111-2222-3333-4444-555555555555", "--client-secret", "hunter2")
	line, err := stdout.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var f facts
	if err := json.Unmarshal(line, &f); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if f.ResourceGroup != "ci" || f.ClientSecret != "hunter2" || f.Location != azuresim.DefaultLocation ||
		f.Registry != strings.TrimPrefix(f.URL, "https://") || !strings.HasPrefix(f.CAFile, dir) {
		t.Errorf("got %+v", f)
	}
	transport, err := azuresim.Access{URL: f.URL, CAFile: f.CAFile}.Transport()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	account := "/subscriptions/" + f.SubscriptionID + "/resourceGroups/ci/providers/Microsoft.Storage/storageAccounts/" +
		f.StorageAccount + "?api-version=2025-08-01"
	for authorization, status := range map[string]int{
		"": http.StatusUnauthorized, "Bearer " + token(t, client, f): http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+account, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || status == http.StatusOK && !bytes.Contains(body, []byte(`"cistore"`)) {
			t.Errorf("with %.12q: got %s %s, want %d", authorization, res.Status, body, status)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	stop(t, cmd, stdout, syscall.SIGTERM)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestLinesAndFolder(t *testing.T) {
	folder := filepath.Join(azuretest.ShortDir(t), "new")
	cmd, stdout := start(t, build(t), os.TempDir(), "--dir", folder)
	got := map[string]string{}
	for range 11 {
		line, err := stdout.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	for name, want := range map[string]string{
		"ca_file": filepath.Join(folder, "ca.pem"), "subscription_id": azuresim.DefaultSubscriptionID,
		"client_secret": azuresim.DefaultClientSecret, "location": azuresim.DefaultLocation,
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	stop(t, cmd, stdout, os.Interrupt)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args, want string
		status     int
	}{
		{"--dir " + dir, "is not empty", 2},
		{"--lisen 127.0.0.1:0", "did you mean --listen?", 2},
		{"now", "takes no arguments", 2},
		{"--listen 0.0.0.0:0", "is not a loopback address", 1},
		{"--host-memory -1", "-1 MB is not a valid size", 1},
	} {
		err := run(t.Context(), strings.Fields(row.args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), row.want) || command.ExitStatus(err) != row.status {
			t.Errorf("%s: got %v, want %q", row.args, err, row.want)
		}
	}
	if left, err := fs.Glob(os.DirFS(dir), "*"); err != nil || len(left) != 1 {
		t.Errorf("the user's folder has %v, %v", left, err)
	}
}

func TestHelp(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, nil, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ARM_METADATA_HOSTNAME", "DisableInstanceDiscovery", "demo --serve", "--storage-account",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %s in\n%s", want, &stdout)
		}
	}
}
