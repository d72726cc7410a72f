// Package packaging builds releases (release.sh). Its tests build one and install it.
package packaging

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

const (
	name    = "sockerless-backend-azf"
	version = "1.2.3-rc.1"
	// packageVersion sorts before 1.2.3 in both formats.
	packageVersion = "1.2.3~rc.1"

	binary  = "usr/bin/" + name
	handler = "usr/lib/" + name + "/azf-handler"
	service = "usr/lib/systemd/system/" + name + ".service"
	socket  = "usr/lib/systemd/system/" + name + ".socket"
	config  = "etc/" + name + "/config.yaml"
	state   = "var/lib/" + name
)

// given is a release to test in place of a new one, which takes a minute.
var given = flag.String("release", "", "`folder` of a release "+version+" of this commit for this machine")

// build runs release.sh for this machine's architecture and returns the folder with the release.
func build(t *testing.T, environ ...string) string {
	t.Helper()
	dist := filepath.Join(t.TempDir(), "dist")
	cmd := exec.Command("sh", "release.sh")
	cmd.Env = append(os.Environ(), "VERSION="+version, "ARCHS="+runtime.GOARCH, "DIST="+dist)
	cmd.Env = append(cmd.Env, environ...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("release.sh: %v\n%s", err, out)
	}
	return dist
}

func TestLongRelease(t *testing.T) {
	azuretest.Needs(t, "builds of every program")
	azuretest.NeedsProgram(t, "dpkg")
	azuretest.NeedsProgram(t, "rpm")
	dist := *given
	if dist == "" {
		dist = build(t)
	}
	deb := fmt.Sprintf("%s_%s-1_%s.deb", name, packageVersion, runtime.GOARCH)
	rpms, err := filepath.Glob(filepath.Join(dist, name+"-"+packageVersion+"-1.*.rpm"))
	if err != nil || len(rpms) != 1 {
		t.Fatalf("rpms %q, %v; want one", rpms, err)
	}
	t.Run("files", func(t *testing.T) { testFiles(t, dist, deb, filepath.Base(rpms[0])) })
	t.Run("SBOM", func(t *testing.T) { testSBOM(t, dist) })
	t.Run("deb", func(t *testing.T) { testDeb(t, filepath.Join(dist, deb)) })
	t.Run("rpm", func(t *testing.T) { testRPM(t, rpms[0]) })
	t.Run("same bytes", func(t *testing.T) { testSameBytes(t, dist) })
}

// checksums reads SHA256SUMS: the checksum of each file.
func checksums(t *testing.T, dist string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(content)) {
		sum, file, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("SHA256SUMS has the line %q", line)
		}
		sums[file] = sum
	}
	return sums
}

func testFiles(t *testing.T, dist string, packages ...string) {
	sums := checksums(t, dist)
	for _, program := range []string{name, "azuresim", "azf-bench"} {
		base := fmt.Sprintf("%s_%s_linux_%s", program, version, runtime.GOARCH)
		packages = append(packages, base+".tar.gz", base+".cdx.json")
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if file := entry.Name(); file != "SHA256SUMS" && !slices.Contains(packages, file) {
			t.Errorf("the release has the file %s", file)
		}
	}
	for _, file := range packages {
		content, err := os.ReadFile(filepath.Join(dist, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != sums[file] {
			t.Errorf("%s has SHA-256 %x, SHA256SUMS %s", file, sum, sums[file])
		}
	}
}

func testSBOM(t *testing.T, dist string) {
	base := fmt.Sprintf("%s_%s_linux_%s.cdx.json", name, version, runtime.GOARCH)
	content, err := os.ReadFile(filepath.Join(dist, base))
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(content, &sbom); err != nil {
		t.Fatal(err)
	}
	main := sbom.Metadata.Component
	if sbom.BOMFormat != "CycloneDX" || main.Name != "github.com/sockerless/backend-azf" || main.Version != version {
		t.Errorf("the SBOM is %s of %+v", sbom.BOMFormat, main)
	}
	var names []string
	for _, c := range sbom.Components {
		names = append(names, c.Name)
	}
	for _, want := range []string{"std", "github.com/moby/moby/api", "modernc.org/sqlite"} {
		if !slices.Contains(names, want) {
			t.Errorf("the SBOM lacks %s", want)
		}
	}
	if bytes.Contains(content, []byte("(devel)")) {
		t.Error("the SBOM has (devel)")
	}
}

// testSameBytes builds the daemon's packages, archive and SBOM again.
func testSameBytes(t *testing.T, dist string) {
	first, second := checksums(t, dist), checksums(t, build(t, "PROGRAMS="+name))
	if len(second) != 4 {
		t.Errorf("the second build has %d files, want 4", len(second))
	}
	for file, sum := range second {
		if first[file] != sum {
			t.Errorf("%s differs in a second build", file)
		}
	}
}

// testRPM reads the list of files and the scripts of the rpm.
func testRPM(t *testing.T, path string) {
	files := map[string]string{}
	const format = "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\\n]"
	for line := range strings.Lines(query(t, path, format)) {
		fields := strings.Fields(line)
		files[fields[3]] = strings.Join(fields[:3], " ")
	}
	for file, want := range map[string]string{
		"/" + binary:                            "-rwxr-xr-x root root",
		"/" + handler:                           "-rwxr-xr-x root root",
		"/" + service:                           "-rw-r--r-- root root",
		"/" + socket:                            "-rw-r--r-- root root",
		"/" + config:                            "-rw------- root root",
		"/etc/" + name:                          "drwxr-x--- root root",
		"/usr/share/man/man8/" + name + ".8.gz": "-rw-r--r-- root root",
		"/usr/share/bash-completion/completions/" + name:         "-rw-r--r-- root root",
		"/usr/share/zsh/site-functions/_" + name:                 "-rw-r--r-- root root",
		"/usr/share/fish/vendor_completions.d/" + name + ".fish": "-rw-r--r-- root root",
		"/usr/share/doc/" + name + "/README.md":                  "-rw-r--r-- root root",
	} {
		if files[file] != want {
			t.Errorf("%s is %q, want %q", file, files[file], want)
		}
	}
	if _, ok := files["/"+state]; ok {
		t.Error("the state folder is a file of the package: its removal would touch it")
	}
	if configs := query(t, path, "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]"); !strings.Contains(configs, "cn /"+config+"\n") {
		t.Errorf("%s is not config(noreplace):\n%s", config, configs)
	}
	scripts := map[string]string{"POSTIN": "postinstall.sh", "PREUN": "preremove.sh", "POSTUN": "postremove.sh"}
	for tag, script := range scripts {
		content, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if got := query(t, path, "%{"+tag+"}"); strings.TrimSpace(got) != strings.TrimSpace(string(content)) {
			t.Errorf("%s is\n%s", tag, got)
		}
	}
	if got := query(t, path, "%{NAME} %{VERSION} %{RELEASE}"); got != name+" "+packageVersion+" 1" {
		t.Errorf("the rpm is %q", got)
	}
}

func query(t *testing.T, path, format string) string {
	t.Helper()
	out, err := exec.Command("rpm", "--query", "--package", "--queryformat", format, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
