package container

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// run runs the test program in an image's root that holds nothing else, and returns its output and code.
func run(t *testing.T, change func(*Config)) (string, int) {
	t.Helper()
	c, out := begin(t, change)
	<-c.Done()
	return out.String(), c.ExitCode()
}

func begin(t *testing.T, change func(*Config)) (*Container, *bytes.Buffer) {
	t.Helper()
	cfg := Config{Root: rootWith(t), Args: []string{"/bin/look"}, Env: []string{"PATH=/bin", "A=b"}}
	var out bytes.Buffer
	cfg.Output = &out
	if change != nil {
		change(&cfg)
	}
	c, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(0) })
	return c, &out
}

func rootWith(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"bin/look":   string(azuretest.BuildProgram(t, "./testdata/look")),
		"bin/text":   "no program",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n",
		"etc/group":  "extra:x:2002:app\n",
		"home/image": "hidden",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestInside(t *testing.T) {
	out, code := run(t, nil)
	for _, want := range []string{
		"pid=1\n", "uid=0 gid=0 groups=[]\n", "cwd=/\n", "env=[PATH=/bin A=b]\n", "args=[/bin/look]\n",
		"root=[bin dev etc home proc]\n", "processes=1\n", "CapEff=00000000a80425fb\n", "CapBnd=00000000a80425fb\n",
		"/dev/null is a device\n", "resolv.conf is there\n", "hostname=container\n",
		"descriptors=[0 1 2 3]\n", // 3 is the folder that is read
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 7 {
		t.Errorf("code is %d, want 7", code)
	}
}

func TestUserFolderAndMounts(t *testing.T) {
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := run(t, func(cfg *Config) {
		cfg.User, cfg.Dir, cfg.Args = "app", "/srv/deep", []string{"look", shared, "/home"}
		cfg.Empty, cfg.Shared = []string{"/home"}, []string{shared}
	})
	for _, want := range []string{
		"uid=1000 gid=1001 groups=[2002]\n", "cwd=/srv/deep\n", "CapEff=0000000000000000\n",
		shared + "=[file]\n", "/home=[]\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestCommandsThatCannotBeExecuted(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		user string
		code int
		want string
	}{
		"not found":        {[]string{"/bin/none"}, "", 127, "exec /bin/none: no such file or directory"},
		"not in PATH":      {[]string{"none"}, "", 127, `exec none: not found in PATH "/bin"`},
		"no program":       {[]string{"/bin/text"}, "", 126, "exec /bin/text: exec format error"},
		"no such user":     {[]string{"/bin/look"}, "nobody", 126, "find user \"nobody\": unable to find user nobody"},
		"a folder is none": {[]string{"/bin"}, "", 126, "exec /bin: permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := run(t, func(cfg *Config) { cfg.Args, cfg.User = row.args, row.user })
			if code != row.code || !strings.Contains(out, row.want) {
				t.Errorf("got %d %q, want %d %q", code, out, row.code, row.want)
			}
		})
	}
}

// TestLinksOfAnImageStayInside has an image whose folders are links to this machine's.
func TestLinksOfAnImageStayInside(t *testing.T) {
	outside := t.TempDir()
	out, _ := run(t, func(cfg *Config) {
		if err := os.Symlink(outside, filepath.Join(cfg.Root, "proc")); err != nil {
			t.Fatal(err)
		}
	})
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 || !strings.Contains(out, "pid=1\n") {
		t.Errorf("outside there is %v, %v; the output is %s", entries, err, out)
	}
}

func TestStop(t *testing.T) {
	for name, row := range map[string]struct {
		args  string
		limit time.Duration
		code  int
	}{"ends": {"wait", time.Hour, 3}, "is killed": {"stay", 0, 128 + int(syscall.SIGKILL)}} {
		t.Run(name, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready")
			c, _ := begin(t, func(cfg *Config) {
				cfg.Args, cfg.Shared = []string{"look", row.args, ready}, []string{filepath.Dir(ready)}
			})
			azuretest.Eventually(t, "the container is ready", func() bool { _, err := os.Stat(ready); return err == nil })
			if c.Stop(row.limit); c.ExitCode() != row.code {
				t.Errorf("code is %d, want %d", c.ExitCode(), row.code)
			}
		})
	}
}

// TestOneUser runs a container as a user without rights, who needs a user namespace.
func TestOneUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to take another user")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := azuretest.ShortDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "test")
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "root"), os.DirFS(rootWith(t))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "-R", "65534:65534", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, "-test.run=^TestChild$", "-test.v")
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "CONTAINER_ROOT=" + filepath.Join(dir, "root")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"isolation 1\n", "uid=0 gid=0", "pid=1\n", "code 7\n"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("no %q in %v: %s", want, err, out)
		}
	}
}

// TestChild is the part of TestOneUser that runs as another user.
func TestChild(t *testing.T) {
	root := os.Getenv("CONTAINER_ROOT")
	if root == "" {
		return // TestOneUser calls it
	}
	kind, err := Supported()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c, err := Start(Config{Root: root, Args: []string{"/bin/look"}, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	t.Logf("isolation %d\n%scode %d\n", kind, out.String(), c.ExitCode())
}
