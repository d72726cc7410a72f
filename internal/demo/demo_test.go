package demo

import (
	"io"
	"maps"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/config"
)

// TestHello runs the command of the image as the shell of a container does.
func TestHello(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", string(hello), "hello", "-exit", "3", "you", "there")
	cmd.Env = []string{"GREETING=Greetings", "AZF_RUN_ID=r"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 3 || string(out) != "Greetings, you there!\nrun r ends with code 3\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestProgramWithLibraries plays a demo with a program that no container can run.
func TestProgramWithLibraries(t *testing.T) {
	err := Run(t.Context(), Config{Program: "/bin/sh", Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("got %v", err)
	}
}

// TestOptionsNameSettings: an option for an unknown key would have no effect.
func TestOptionsNameSettings(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(set, config.Options{})
	options := Options()
	for _, keys := range []map[string]string{options.Defaults, options.Help, options.Refused} {
		for key := range maps.Keys(keys) {
			if set.Lookup(strings.ReplaceAll(key, "_", "-")) == nil {
				t.Errorf("%s is not a setting", key)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	c, err := Settings("/state", "/run/s")
	if err != nil || c.StateDir != "/state" || c.Listen.Address != "unix:///run/s" || !c.RunsImages() ||
		c.SubscriptionID != azuresim.DefaultSubscriptionID || c.Azure.ResourceGroup != azuresim.DefaultResourceGroup {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestDemultiplex(t *testing.T) {
	lines, err := Demultiplex([]byte("\x01\x00\x00\x00\x00\x00\x00\x02a\n\x02\x00\x00\x00\x00\x00\x00\x01b"))
	if err != nil || strings.Join(lines, ",") != "stdout: a,stderr: b" {
		t.Errorf("got %q, %v", lines, err)
	}
	for _, cut := range []string{"\x01\x00", "\x01\x00\x00\x00\x00\x00\x00\x02a"} {
		if lines, err := Demultiplex([]byte(cut)); err == nil {
			t.Errorf("%q: got %q", cut, lines)
		}
	}
}
