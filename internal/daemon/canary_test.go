package daemon_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// canaries are secrets that must be in no file but those that docs/security.md names. The storage account's key is that
// of azuresim.
var canaries = map[string]string{
	"environment":       `canary-environment-"4711"`,
	"registry password": "canary-registry-4712",
	"storage key":       base64.StdEncoding.EncodeToString([]byte(strings.Repeat("azuresim-storage-key-1..........", 2))),
}

// secretFiles returns the patterns of docs/security.md for files of the state folder with secrets.
func secretFiles(t *testing.T) (patterns []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	const before = "In the state folder, these files hold secrets in plain text, and no others:\n"
	_, list, _ := strings.Cut(string(page), before)
	list, _, _ = strings.Cut(strings.TrimLeft(list, "\n"), "\n\n")
	for _, found := range regexp.MustCompile("(?m)^- `([^`]+)`").FindAllStringSubmatch(list, -1) {
		patterns = append(patterns, found[1])
	}
	if len(patterns) < 5 {
		t.Fatalf("docs/security.md lists only %v", patterns)
	}
	return patterns
}

// wantHidden checks that no file below the state folder holds a canary, but those that match a pattern.
func (p *playground) wantHidden(t *testing.T, when string, patterns []string) (holding []string) {
	t.Helper()
	root := p.stateDir()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for what, canary := range canaries {
			if !holds(t, content, canary) {
				continue
			}
			holding = append(holding, relative)
			matches := func(pattern string) bool {
				matched, err := path.Match(pattern, relative)
				return matched && err == nil
			}
			if !slices.ContainsFunc(patterns, matches) {
				t.Errorf("%s: %s holds the %s", when, relative, what)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return holding
}

// holds reports whether a file holds a secret, as it is or encoded. A plan is a zip archive.
func holds(t *testing.T, content []byte, secret string) bool {
	t.Helper()
	escaped := strings.ReplaceAll(secret, `"`, `\"`)
	for _, form := range []string{
		secret, escaped, strings.ReplaceAll(escaped, `\`, `\\`), strings.ReplaceAll(secret, `"`, `\u0022`),
		base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		if bytes.Contains(content, []byte(form)) {
			return true
		}
	}
	for _, encoded := range specForm.FindAll(content, -1) {
		spec, err := base64.RawURLEncoding.DecodeString(string(encoded))
		if err == nil && bytes.Contains(spec, []byte(escaped)) {
			return true
		}
	}
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return false
	}
	for _, file := range archive.File {
		f, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		inner, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if holds(t, inner, secret) {
			return true
		}
	}
	return false
}

// specForm matches an encoded spec, which begins with a brace and a quote.
var specForm = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{20,}`)

// TestCanary takes containers with secrets through each way in which files are written.
func TestCanary(t *testing.T) {
	patterns := secretFiles(t)
	p := newAzure(t)
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the daemon has stopped
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	p.run(t, func(cfg *daemon.Config) {
		cfg.Azure.Registry, cfg.Azure.RegistryUsername = p.sim.Registry(), "canary"
		cfg.Azure.RegistryPassword = canaries["registry password"]
		cfg.Audit.Sinks = "file://" + filepath.Join(p.stateDir(), "trail.jsonl")
		cfg.Log = zerolog.New(log)
	})
	config := api.Config{
		Image: p.image, Env: []string{"TOKEN=" + canaries["environment"]}, Cmd: []string{"/bin/true"},
		Labels: map[string]string{"team": "ci"},
	}
	create := func(name string) error {
		return p.Call(t.Context(), http.MethodPost, "/containers?name="+name, api.CreateRequest{Config: &config}, nil)
	}
	if err := create("web"); err != nil {
		t.Fatal(err)
	}
	spec, err := protocol.Spec{Env: config.Env}.Encode()
	if err != nil || !holds(t, []byte(`"`+spec["AZF_SPEC_0"]+`"`), canaries["environment"]) {
		t.Errorf("an encoded spec is not recognized: %v, %v", spec, err)
	}
	holding := p.wantHidden(t, "create", patterns)
	for _, name := range []string{"terraform.tfvars.json", "terraform.tfstate", "plan.tfplan"} {
		if !slices.ContainsFunc(holding, func(file string) bool { return filepath.Base(file) == name }) {
			t.Errorf("%s holds no secret, only %v do: the test tests nothing", name, holding)
		}
	}

	p.atWrite(true, http.MethodPut, sitePath, p.killer(t, killTerraform))
	if err := create("imported"); err != nil {
		t.Fatal(err)
	}
	p.wantHidden(t, "import", patterns)
	p.must(t, http.MethodDelete, "/containers/imported", nil, nil)
	p.wantHidden(t, "removal of an imported one", patterns)

	// Azure refuses the app, with the request in its message.
	p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
		Method: http.MethodPut, Path: sitePath, Status: http.StatusBadRequest, Code: "BadRequest",
		Message: "TOKEN=" + canaries["environment"] + " is not valid; password " + canaries["registry password"],
	}}})
	if err := create("refused"); err == nil || strings.Contains(err.Error(), canaries["environment"][:18]) {
		t.Errorf("got %v, want a failure without secrets", err)
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.wantHidden(t, "failed create", patterns)

	// Each attempt is killed, so that the removal imports the app.
	p.killAtEach(t, killTerraform, http.MethodPut)
	if err := create("killed"); err == nil {
		t.Error("the create succeeded: the test tests nothing")
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.wantHidden(t, "import before a removal", patterns)

	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.stop()
	for _, file := range p.wantHidden(t, "removal", patterns) {
		t.Errorf("after all containers are removed, %s holds a secret", file)
	}
	content, err := os.ReadFile(log.Name())
	if err != nil || len(content) == 0 {
		t.Fatalf("the log is empty, %v", err)
	}
	for what, canary := range canaries {
		if holds(t, content, canary) {
			t.Errorf("the log holds the %s", what)
		}
	}
}
