package demo

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/config"
)

// files returns the files of an image, by path.
func files(t *testing.T, img appimage.Image) map[string]string {
	t.Helper()
	content := mutate.Extract(img)
	found := map[string]string{}
	for r := tar.NewReader(content); ; {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found["/"+entry.Name] = string(text)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	return found
}

// TestImageExecutesTheProgram runs the image's scripts, with a program whose path is hard to quote.
func TestImageExecutesTheProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), `it's $HOME "here"`)
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	img, err := image(program)
	if err != nil {
		t.Fatal(err)
	}
	found := files(t, img)
	for _, name := range []string{"/host.json", "/run/function.json", "/runs/function.json"} {
		if found[wwwroot+name] == "" {
			t.Errorf("the image lacks %s", name)
		}
	}
	handler := exec.Command("/bin/sh", "-c", found[wwwroot+"/azf-handler"], "azf-handler", "--", "a b")
	if out, err := handler.CombinedOutput(); err != nil || string(out) != HandlerCommand+" -- a b\n" {
		t.Errorf("azf-handler: %q, %v", out, err)
	}
	hello := exec.Command("/bin/sh", "-c", found["/usr/local/bin/hello"], "hello", "-exit", "3", "you", "there")
	hello.Env = []string{"GREETING=Greetings", "AZF_RUN_ID=r"}
	out, err := hello.CombinedOutput()
	if hello.ProcessState.ExitCode() != 3 || string(out) != "Greetings, you there!\nrun r ends with code 3\n" {
		t.Errorf("hello: %q, %v", out, err)
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
