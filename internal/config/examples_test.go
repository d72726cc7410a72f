package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/sockerless/backend-azf/server"
)

func TestExampleConfig(t *testing.T) {
	const path = "../../examples/config/config.yaml"
	l, err := load([]string{"--config", path}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The choices that are commented out must be settings too.
	choice := regexp.MustCompile(`(?m)^( *)# ([a-z_]+: )`)
	if n := len(choice.FindAll(content, -1)); n < 10 {
		t.Fatalf("found %d choices", n)
	}
	chosen := strings.Replace(
		choice.ReplaceAllString(string(content), "$1$2"),
		"listen: unix:///var/run/sockerless-backend.sock\n",
		"",
		1,
	)
	if l, err = load([]string{"--config", writeConfig(t, chosen)}, nil, ""); err != nil {
		t.Fatal(err)
	}
	for _, problem := range l.problems {
		// The files and the group are the user's, and the socket's group does not go with TCP.
		if !strings.Contains(problem, "no such file") && !strings.Contains(problem, "socket_group") {
			t.Error(problem)
		}
	}
}

// readUnit gives the options of a systemd unit as section.name.
func readUnit(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("../../examples/systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	values := map[string]string{}
	for _, o := range options {
		values[o.Section+"."+o.Name] = o.Value
	}
	return values
}

func TestSystemdUnits(t *testing.T) {
	service, socket := readUnit(t, "sockerless-backend-azf.service"), readUnit(t, "sockerless-backend-azf.socket")
	command := strings.Fields(service["Service.ExecStart"])
	l, err := load(append(command[2:], "--config", "../../examples/config/config.yaml"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	if filepath.Base(command[0]) != "sockerless-backend-azf" || command[1] != "serve" ||
		l.given.Listen.Address != "fd://" {
		t.Errorf("the service runs %q", command)
	}
	byDefault := (&Loaded{rows: settings()}).row("listen").fallback
	_, path, err := server.ParseAddress(byDefault)
	// systemd wants /run, which /var/run is a link to.
	if want := strings.TrimPrefix(path, "/var"); err != nil || socket["Socket.ListenStream"] != want ||
		socket["Socket.SocketMode"] != "0660" {
		t.Errorf("the socket is %q, want %s, %v", socket, want, err)
	}
	if service["Service.KillMode"] != "mixed" || service["Unit.Requires"] != "sockerless-backend-azf.socket" {
		t.Errorf("the service is %q", service)
	}
	if "/var/lib/"+service["Service.StateDirectory"] != l.given.StateDir ||
		service["Service.RestartPreventExitStatus"] != "2" {
		t.Errorf("the service is %q", service)
	}
	// systemd must not kill what the daemon still waits for.
	stop, err := time.ParseDuration(strings.Replace(service["Service.TimeoutStopSec"], "min", "m", 1))
	if err != nil || stop <= l.given.ShutdownTimeout+5*time.Minute {
		t.Errorf("systemd waits %s, %v", stop, err)
	}
}

func TestDocsHaveEverySetting(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Split(string(content), "\n- ")
	for _, s := range settings() {
		found := false
		for _, entry := range entries {
			// An entry begins with its settings and their default: "`key` (default `value`): ...".
			head, _, _ := strings.Cut(strings.Join(strings.Fields(entry), " "), ": ")
			found = found ||
				strings.Contains(head, "`"+s.key+"`") && (s.fallback == "" || strings.Contains(head, "(default `"+s.fallback+"`)"))
		}
		if !found {
			t.Errorf("docs/configuration.md lacks %s with its default %q", s.path(), s.fallback)
		}
	}
	_, example, _ := strings.Cut(string(content), "```yaml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("docs/configuration.md has no example")
	}
	l, err := load([]string{"--config", writeConfig(t, example)}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range l.problems {
		if !strings.Contains(problem, "/etc/sockerless-backend-azf/") { // the certificates are the user's
			t.Error(problem)
		}
	}
}
