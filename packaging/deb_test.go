package packaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

// root is the empty root of a Debian system, for one package.
type root struct{ dir, deb string }

func testDeb(t *testing.T, deb string) {
	r := root{dir: azuretest.ShortDir(t), deb: deb}
	for _, dir := range []string{"etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "var/lib/dpkg/status"} {
		if err := os.WriteFile(filepath.Join(r.dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Each step needs the ones before it.
	r.install(t)
	r.version(t)
	r.serve(t)
	r.demo(t)
	r.upgrade(t)
	r.remove(t)
}

// path returns the path of a file of the package.
func (r root) path(file string) string { return filepath.Join(r.dir, file) }

// dpkg runs dpkg in the root and returns the output of dpkg and of the maintainer scripts. The root has no shell: the
// scripts run outside of it, and DPKG_ROOT names it to them. Then find lists the root, as the one who ran dpkg sees it.
func (r root) dpkg(t *testing.T, args ...string) (output string, files map[string]string) {
	t.Helper()
	const script = `root=$1; shift
dpkg --root="$root" --log=/dev/null --force-script-chrootless --force-depends --path-include='*' "$@"
cd "$root"; find . -printf '@%M %U %G %P\n'`
	command := append([]string{"sh", "-e", "-c", script, "sh", r.dir}, args...)
	if os.Geteuid() != 0 {
		command = append([]string{azuretest.NeedsProgram(t, "fakeroot"), "--"}, command...)
	}
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg %q: %v\n%s", args, err, out)
	}
	files = map[string]string{}
	for line := range strings.Lines(string(out)) {
		if entry, ok := strings.CutPrefix(line, "@"); ok {
			fields := strings.Fields(entry)
			files[strings.Join(fields[3:], " ")] = strings.Join(fields[:3], " ")
		} else {
			output += line
		}
	}
	return output, files
}

// id returns the number of the package's user or group.
func (r root) id(t *testing.T, database string) string {
	t.Helper()
	content, err := os.ReadFile(r.path("etc/" + database))
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`(?m)^` + name + `:x:(\d+):`).FindSubmatch(content)
	if id == nil {
		t.Fatalf("etc/%s has no %s:\n%s", database, name, content)
	}
	return string(id[1])
}

func (r root) install(t *testing.T) {
	output, files := r.dpkg(t, "--install", r.deb)
	for _, word := range []string{"nothing is started yet", config, "systemctl enable --now " + name + ".socket"} {
		if !strings.Contains(output, word) {
			t.Errorf("the installation does not print %q:\n%s", word, output)
		}
	}
	user, group := r.id(t, "passwd"), r.id(t, "group")
	if user == "0" || group == "0" {
		t.Errorf("the user is %s:%s", user, group)
	}
	for file, want := range map[string]string{
		binary:                                 "-rwxr-xr-x 0 0",
		handler:                                "-rwxr-xr-x 0 0",
		service:                                "-rw-r--r-- 0 0",
		socket:                                 "-rw-r--r-- 0 0",
		config:                                 "-rw------- " + user + " 0",
		"etc/" + name:                          "drwxr-x--- 0 " + group,
		state:                                  "drwx------ " + user + " " + group,
		"usr/share/man/man8/" + name + ".8.gz": "-rw-r--r-- 0 0",
		"usr/share/man/man8/" + name + "-serve.8.gz":            "-rw-r--r-- 0 0",
		"usr/share/bash-completion/completions/" + name:         "-rw-r--r-- 0 0",
		"usr/share/zsh/vendor-completions/_" + name:             "-rw-r--r-- 0 0",
		"usr/share/fish/vendor_completions.d/" + name + ".fish": "-rw-r--r-- 0 0",
		"usr/share/doc/" + name + "/README.md":                  "-rw-r--r-- 0 0",
		"usr/share/doc/" + name + "/docs/configuration.md":      "-rw-r--r-- 0 0",
		"usr/share/doc/" + name + "/examples/ci/batch.sh":       "-rwxr-xr-x 0 0",
	} {
		if files[file] != want {
			t.Errorf("%s is %q, want %q", file, files[file], want)
		}
	}
	for file := range files {
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "/hello/main.go") {
			t.Errorf("the package has %s", file)
		}
	}
}

// execute runs an installed program outside of a checkout, with an environment that has nothing but what is given.
func (r root) execute(t *testing.T, environ []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(r.path(program), args...)
	cmd.Dir, cmd.Env = "/", environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func (r root) version(t *testing.T) {
	got := r.execute(t, nil, binary, "version")
	if !regexp.MustCompile(`^` + name + ` ` + regexp.QuoteMeta(version) + `\ncommit [0-9a-f]{40}\n`).MatchString(got) {
		t.Errorf("version prints\n%s", got)
	}
	if got := r.execute(t, nil, binary, "config", "print", "--config", r.path(config)); !strings.Contains(got, "/"+state) {
		t.Errorf("config print prints\n%s", got)
	}
}

// unit returns the options of an installed unit by section.name.
func (r root) unit(t *testing.T, file string) map[string][]string {
	t.Helper()
	f, err := os.Open(r.path(file))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for _, o := range options {
		values[o.Section+"."+o.Name] = append(values[o.Section+"."+o.Name], o.Value)
	}
	return values
}

// toolsOnly returns an environment whose PATH has terraform and nothing else.
func toolsOnly(t *testing.T) []string {
	t.Helper()
	tools := cloudtest.Tools(t)
	program := "terraform"
	if tools.Tofu {
		program = "tofu"
	}
	bin := t.TempDir()
	if err := os.Symlink(tools.Terraform, filepath.Join(bin, program)); err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + bin, "HOME=/nowhere", "XDG_CACHE_HOME=" + cache}
}

// serve runs the command line of the installed unit with a socket, as systemd passes it, until the daemon answers. The
// cloud is Azure's, which the test does not reach: this is as far as the daemon gets without an account.
func (r root) serve(t *testing.T) {
	options := r.unit(t, service)
	args := strings.Fields(options["Service.ExecStart"][0])
	if args[0] != "/"+binary || options["Service.User"][0] != name || options["Service.Group"][0] != name {
		t.Fatalf("the unit runs %q as %s", args, options["Service.User"])
	}
	if r.unit(t, socket)["Socket.SocketGroup"][0] != name {
		t.Error("the socket does not belong to the package's group")
	}
	path := r.path("s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	passed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	// systemd sets the process id between fork and exec.
	const activate = `LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@"`
	args = append([]string{"-c", activate, "sh", r.path(args[0])}, args[1:]...)
	cmd := exec.Command("/bin/sh", append(args, "--config", r.path(config))...)
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{passed}
	cmd.Env = append(toolsOnly(t), "SOCKERLESS_AZF_STATE_DIR="+r.path(state),
		"AZURE_TENANT_ID=00000000-0000-0000-0000-000000000001", "AZURE_CLIENT_ID=id", "AZURE_CLIENT_SECRET=secret")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pinged := ping(t, path)
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait(), passed.Close(), l.Close()); err != nil {
		t.Errorf("serve: %v\n%s", err, log.String())
	}
	if pinged != nil {
		t.Errorf("ping: %v\n%s", pinged, log.String())
	}
}

// ping blocks until a daemon answers on a socket that listens already.
func ping(t *testing.T, socket string) error {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://daemon/_ping", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && (res.StatusCode != http.StatusOK || string(body) != "OK") {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}

// demo takes a container through its life on the simulator, with what the package carries: no checkout and no Go.
func (r root) demo(t *testing.T) {
	out := r.execute(t, toolsOnly(t), binary, "demo", "--json", "--state-dir", r.path("demo"))
	last := out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]
	var step struct {
		Step string
		OK   bool
	}
	if err := json.Unmarshal([]byte(last), &step); err != nil || step.Step != "left" || !step.OK {
		t.Errorf("the demo's last line is %q, %v\n%s", last, err, out)
	}
}

// upgrade installs the package over itself. The user's configuration stays, and the daemon that runs is not touched.
func (r root) upgrade(t *testing.T) {
	edited := []byte("# edited\n")
	if err := os.WriteFile(r.path(config), edited, 0o600); err != nil {
		t.Fatal(err)
	}
	output, files := r.dpkg(t, "--install", r.deb)
	if !strings.Contains(output, "a running daemon goes on with the old version") ||
		strings.Contains(output, "nothing is started") {
		t.Errorf("the upgrade prints\n%s", output)
	}
	if content, err := os.ReadFile(r.path(config)); err != nil || string(content) != string(edited) {
		t.Errorf("the configuration is now %q, %v", content, err)
	}
	if want := "-rw------- " + r.id(t, "passwd") + " 0"; files[config] != want {
		t.Errorf("the configuration is %q, want %q", files[config], want)
	}
}

// remove removes and purges the package. The state is left, and the user learns that it is.
func (r root) remove(t *testing.T) {
	_, before := r.dpkg(t, "--list")
	if err := os.MkdirAll(r.path("var/cache/"+name+"/mirror"), 0o755); err != nil {
		t.Fatal(err)
	}
	output, files := r.dpkg(t, "--remove", name)
	if _, ok := files[config]; !ok || !strings.Contains(output, "/"+state+" and the user "+name+" are left") {
		t.Errorf("the removal leaves %q and prints\n%s", files[config], output)
	}
	secrets := r.path("etc/" + name + "/environment")
	if err := os.WriteFile(secrets, []byte("AZURE_CLIENT_SECRET=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output, after := r.dpkg(t, "--purge", name)
	for _, words := range []string{"/" + state + " and the user " + name + " are left", "/etc/" + name + " is left"} {
		if !strings.Contains(output, words) {
			t.Errorf("the purge does not print %q:\n%s", words, output)
		}
	}
	kept := 0
	for file, mode := range before {
		switch {
		case file == state || strings.HasPrefix(file, state+"/"):
			kept++
			if after[file] != mode {
				t.Errorf("%s was %q and is %q", file, mode, after[file])
			}
		case file == config || strings.HasPrefix(file, "usr/"):
			if _, ok := after[file]; ok {
				t.Errorf("%s is left", file)
			}
		}
	}
	if kept < 2 {
		t.Errorf("the daemon left %d files in its state folder", kept)
	}
	if _, ok := after["var/cache/"+name]; ok {
		t.Error("the cache is left")
	}
	r.id(t, "passwd")
	r.id(t, "group")
}
