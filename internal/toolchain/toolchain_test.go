package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// record collects lines from any goroutine.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *record) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *record) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}

// has checks that progress contains all the words.
func (p *record) has(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(p.String(), word) {
			t.Errorf("progress does not contain %q:\n%s", word, p)
		}
	}
}

// fixture is a machine of its own: cache, PATH, and a small program in place of each that is built. The scripts
// stand for binaries that only print their version.
type fixture struct {
	Config
	bin      string
	progress *record
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{bin: t.TempDir(), progress: &record{}}
	unreachable := httptest.NewServer(http.NotFoundHandler())
	unreachable.Close()
	f.Config = Config{
		CacheDir: filepath.Join(t.TempDir(), "cache"), Progress: f.progress, releases: unreachable.URL,
		registries: map[string]string{terraformRegistry: unreachable.URL, openTofuRegistry: unreachable.URL},
		tofu:       program(t, "OpenTofu", OpenTofuVersion), provider: program(t, "provider", "1.0.0"),
		environ: []string{"PATH=" + f.bin, "HOME=" + os.Getenv("HOME")},
	}
	for _, name := range []string{"GOPATH", "GOMODCACHE", "GOCACHE"} {
		if v := os.Getenv(name); v != "" {
			f.environ = append(f.environ, name+"="+v)
		}
	}
	return f
}

// program returns a module whose program prints a version as terraform does. Its pkg is the path of the source.
func program(t *testing.T, product, version string) *module {
	t.Helper()
	dir := t.TempDir()
	source := fmt.Sprintf(`package main

import "os"

func main() {
	if len(os.Args) > 2 {
		println2(%q)
	} else {
		println2(%q)
	}
}

func println2(s string) { _, _ = os.Stdout.WriteString(s + "\n") }
`, fmt.Sprintf(`{"terraform_version": %q}`, version), product+" v"+version)
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	mod := []byte("module example.com/program\n\ngo 1.26\n")
	return &module{name: strings.ToLower(product), pkg: file, mod: mod, sum: []byte{}}
}

// script puts a binary of a version on PATH.
func (f *fixture) script(t *testing.T, name, product, version string) string {
	t.Helper()
	path := filepath.Join(f.bin, name)
	content := fmt.Sprintf(`#!/bin/sh
if [ "$2" = -json ]; then echo '{"terraform_version": %q}'; else echo '%s v%s'; fi
`, version, product, version)
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// withGo puts this machine's go on PATH.
func (f *fixture) withGo(t *testing.T) {
	t.Helper()
	p := &preparer{Config: Config{environ: os.Environ()}}
	path, ok := p.lookPath("go")
	if !ok {
		t.Fatal("go is not on PATH")
	}
	wrapper := "#!/bin/sh\necho \"$1\" >>\"$0.log\"\nexec " + path + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(f.bin, "go"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
}

// builds returns the number of runs of go build.
func (f *fixture) builds(t *testing.T) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(f.bin, "go.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(log), "build\n")
}

// preparer returns one that knows the fixture's cache, for the paths in it and its locks.
func (f *fixture) preparer() *preparer {
	return &preparer{Config: f.Config, progress: newProgress(nil, time.Hour)}
}

func (f *fixture) prepare(t *testing.T) Tools {
	t.Helper()
	tools, err := Prepare(t.Context(), f.Config)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.progress)
	}
	return tools
}

func TestNothingButAModuleProxy(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	tools := f.prepare(t)
	if !tools.Tofu || tools.TerraformVersion != OpenTofuVersion || tools.ProviderVersion != ProviderVersion {
		t.Errorf("got %+v", tools)
	}
	sum, err := checksum(tools.ProviderPath)
	if err != nil || sum != tools.ProviderSHA256 || len(sum) != 64 {
		t.Errorf("recorded %q, file has %q, %v", tools.ProviderSHA256, sum, err)
	}
	a, err := os.Stat(providerPath(tools.Mirror, terraformRegistry, ProviderVersion))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Stat(providerPath(tools.Mirror, openTofuRegistry, ProviderVersion)); err != nil || !os.SameFile(a, b) {
		t.Errorf("the registries' names have different files, %v", err)
	}
	f.progress.has(t, "out of reach", "building OpenTofu "+OpenTofuVersion, "building azurerm "+ProviderVersion)
	again := f.prepare(t)
	if again != tools || f.builds(t) != 2 {
		t.Errorf("second time: got %+v after %d builds, want the same after 2", again, f.builds(t))
	}
	if left, err := filepath.Glob(filepath.Join(f.CacheDir, "*scratch*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestWhichTerraform(t *testing.T) {
	type script struct{ name, product, version string }
	terraform, tofu := script{"terraform", "Terraform", "1.9.0"}, script{"tofu", "OpenTofu", "1.10.0"}
	for name, row := range map[string]struct {
		scripts  []script
		use      string
		want     string
		tofu     bool
		progress string
		err      string
	}{
		"terraform on PATH": {scripts: []script{terraform, tofu}, want: "terraform"},
		"tofu on PATH":      {scripts: []script{tofu}, want: "tofu", tofu: true},
		"terraform is too old": {
			scripts: []script{{"terraform", "Terraform", "1.8.5"}, tofu}, want: "tofu", tofu: true,
			progress: "it is terraform 1.8.5, at least 1.9.0 is needed",
		},
		"terraform is tofu": {
			scripts: []script{{"terraform", "OpenTofu", "1.9.9"}, tofu}, want: "tofu", tofu: true,
			progress: "OpenTofu 1.9.9, at least 1.10.0",
		},
		"configured": {scripts: []script{terraform, {"mine", "Terraform", "1.13.1"}}, use: "mine", want: "mine"},
		"configured is too old": {
			scripts: []script{terraform, {"mine", "Terraform", "1.2.0"}}, use: "mine", err: "at least 1.9.0 is needed",
		},
		"configured does not exist": {scripts: []script{terraform}, use: "mine", err: "mine"},
		"configured has no version": {scripts: []script{{"mine", "x", "y"}}, use: "mine", err: "version"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.withGo(t)
			for _, s := range row.scripts {
				f.script(t, s.name, s.product, s.version)
			}
			if row.use != "" {
				f.Terraform = filepath.Join(f.bin, row.use)
			}
			tools, err := Prepare(t.Context(), f.Config)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("got %v, want %q", err, row.err)
				}
				return
			}
			if err != nil || tools.Terraform != filepath.Join(f.bin, row.want) || tools.Tofu != row.tofu {
				t.Errorf("got %+v, %v", tools, err)
			}
			f.progress.has(t, row.progress)
			if row.progress != "" {
				f.progress.has(t, "passing over ")
			}
		})
	}
}

func TestTofuWhateverTerraformThereIs(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	f.Tofu = true
	for range 2 {
		if tools := f.prepare(t); !tools.Tofu || tools.TerraformVersion != OpenTofuVersion || f.builds(t) != 2 {
			t.Errorf("got %+v after %d builds, want OpenTofu and the provider built once", tools, f.builds(t))
		}
	}
	want := f.script(t, "tofu", "OpenTofu", "1.10.0")
	if tools := f.prepare(t); tools.Terraform != want {
		t.Errorf("got %+v, want %s", tools, want)
	}
}

func TestTamperedProvider(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	tools := f.prepare(t)
	if err := os.WriteFile(tools.ProviderPath, []byte("evil"), 0o700); err != nil {
		t.Fatal(err)
	}
	again := f.prepare(t)
	if sum, err := checksum(again.ProviderPath); err != nil || sum != tools.ProviderSHA256 {
		t.Errorf("got %s, %v; want the provider back", sum, err)
	}
	other, err := checksum(providerPath(again.Mirror, openTofuRegistry, ProviderVersion))
	if err != nil || other != tools.ProviderSHA256 {
		t.Errorf("the other registry's name has %s, %v", other, err)
	}
	f.progress.has(t, "is not the file that was kept")
	content, err := os.ReadFile(filepath.Join(f.CacheDir, filepath.Base(tools.ProviderPath)+".rejected"))
	if err != nil || string(content) != "evil" {
		t.Errorf("set aside: %q, %v", content, err)
	}
}

func TestKilledProcessLeavesNoHalf(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	azurerm := f.preparer().azurermArtefact()
	half := filepath.Join(f.preparer().scratch(azurerm), "binary")
	// The target was renamed into place, but the process died before it recorded the checksum.
	for _, path := range []string{half, azurerm.path} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tools := f.prepare(t)
	if sum, err := checksum(tools.ProviderPath); err != nil || sum != tools.ProviderSHA256 || f.builds(t) != 1 {
		t.Errorf("got %s, %v after %d builds", sum, err, f.builds(t))
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half is left: %v", err)
	}
}

func TestFailedBuilds(t *testing.T) {
	t.Run("no go", func(t *testing.T) {
		f := setup(t)
		if _, err := Prepare(t.Context(), f.Config); err == nil || !strings.Contains(err.Error(), "install Go") {
			t.Errorf("got %v, want a word on Go", err)
		}
	})
	t.Run("does not compile", func(t *testing.T) {
		f := setup(t)
		f.withGo(t)
		if err := os.WriteFile(f.tofu.pkg, []byte("package main\n\nfunc main() { nonsense() }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Prepare(t.Context(), f.Config); err == nil || !strings.Contains(err.Error(), "undefined: nonsense") {
			t.Errorf("got %v, want go's reason", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		f := setup(t)
		// A go that runs until it is interrupted, and leaves a file once it has begun.
		began := filepath.Join(f.bin, "began")
		script := "#!/bin/sh\ntrap 'exit 1' INT\n: >" + began + "\nwhile :; do :; done\n"
		if err := os.WriteFile(filepath.Join(f.bin, "go"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.progressTick, f.progressInterval = time.Millisecond, time.Nanosecond
		f.Progress = onProgress(func(string) {
			if _, err := os.Stat(began); err == nil {
				cancel()
			}
		})
		if _, err := Prepare(ctx, f.Config); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the cancellation", err)
		}
		if left, err := filepath.Glob(filepath.Join(f.CacheDir, "*scratch*")); err != nil || len(left) > 0 {
			t.Errorf("scratch is left: %v, %v", left, err)
		}
	})
}

// onProgress is a writer that calls a function with each line.
type onProgress func(line string)

func (f onProgress) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

func TestUnhealthySites(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	defer refusing.Close()
	f.releases, f.registries[openTofuRegistry] = refusing.URL, refusing.URL
	if tools := f.prepare(t); !tools.Tofu || f.builds(t) != 2 {
		t.Errorf("got %+v after %d builds, want both built", tools, f.builds(t))
	}
}

func TestCLIConfigQuotesItsPath(t *testing.T) {
	config := Tools{Mirror: `/a "b"\${c}%{d}`}.CLIConfig()
	if !strings.Contains(config, `path    = "/a \"b\"\\$${c}%%{d}"`) {
		t.Errorf("got %s", config)
	}
}

func TestEmbeddedModulesArePinned(t *testing.T) {
	for name, want := range map[string][]string{
		"azurerm": {
			"tool " + azurerm.pkg, "github.com/hashicorp/terraform-provider-azurerm v1.44.1-0.20260824201233-fae580791926",
		},
		"opentofu": {
			"tool " + openTofu.pkg, "github.com/opentofu/opentofu v" + OpenTofuVersion,
			"replace github.com/hashicorp/hcl/v2 v2.20.1 => ",
		},
	} {
		mod, err := modules.ReadFile("modules/" + name + ".mod")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(string(mod), line) {
				t.Errorf("%s.mod has no %q", name, line)
			}
		}
		if sum, err := modules.ReadFile("modules/" + name + ".sum"); err != nil || !bytes.Contains(sum, []byte(" h1:")) {
			t.Errorf("%s.sum: %v", name, err)
		}
	}
}
