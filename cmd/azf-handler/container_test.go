package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// rootEnv has TestMain put the process into a root, with its own /proc, where it becomes azf-handler.
const rootEnv = "AZF_TEST_ROOT"

func TestMain(m *testing.M) {
	root := os.Getenv(rootEnv)
	if root == "" {
		os.Exit(m.Run())
	}
	if err := os.Unsetenv(rootEnv); err != nil {
		panic(err)
	}
	panic(errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""),
		syscall.Chroot(root), syscall.Chdir("/"),
		syscall.Exec("/.sockerless/init", slices.Concat([]string{"/.sockerless/init"}, os.Args[1:]), os.Environ()),
	))
}

// container is a wrapped image in a folder, and what runs in it.
type container struct {
	root string // of the image
	dir  string // of azf-handler
	cmd  *exec.Cmd
	errs bytes.Buffer
	port string // of the handler
}

// wrapped returns a container whose image holds nothing but what was added, and the program /app/tool.
func wrapped(t *testing.T, config string) *container {
	t.Helper()
	root := t.TempDir()
	c := &container{root: root, dir: filepath.Join(root, ".sockerless")}
	tool := string(azuretest.BuildProgram(t, "./testdata/tool"))
	c.write(t, ".sockerless/init", string(azuretest.BuildProgram(t, ".")))
	c.write(t, ".sockerless/image.json", `{"version": 1, "reference": "r", "digest": "sha256:a", "config": `+config+`}`)
	c.write(t, ".sockerless/libs", "/.sockerless/host/lib\n/.sockerless/host/usr/lib\n")
	c.write(t, ".sockerless/host/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost", tool)
	c.write(t, ".sockerless/host/etc/ssl/certs/ca-certificates.crt", "")
	c.write(t, ".sockerless/home/site/wwwroot/host.json", "{}")
	c.write(t, "app/tool", tool)
	for _, dir := range []string{".sockerless/tmp", "proc"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

// write writes a file that everybody may read and execute.
func (c *container) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(c.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
		t.Fatal(err)
	}
}

// start starts azf-handler as process 1 of the container, which is its root. It needs root.
func (c *container) start(t *testing.T, environ []string, args ...string) {
	t.Helper()
	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, which may give a process namespaces and a root of its own (CAP_SYS_ADMIN)")
	}
	self, err := os.Executable()
	null := filepath.Join(c.root, "dev", "null")
	if err := errors.Join(err, os.Mkdir(filepath.Dir(null), 0o755),
		syscall.Mknod(null, syscall.S_IFCHR|0o666, 1<<8|3), os.Chmod(null, 0o666)); err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(self, args...)
	c.cmd.Env = []string{rootEnv + "=" + c.root}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	c.launch(t, environ)
}

// startHere starts azf-handler from its folder, with the machine's root.
func (c *container) startHere(t *testing.T, environ []string, args ...string) {
	t.Helper()
	c.cmd = exec.Command(filepath.Join(c.dir, "init"), args...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.launch(t, environ)
}

func (c *container) launch(t *testing.T, environ []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, c.port, err = net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	c.cmd.Env = slices.Concat(c.cmd.Env, environ, []string{"FUNCTIONS_TEST_PORT=" + c.port})
	c.cmd.Stderr = &c.errs
	if err := c.cmd.Start(); err != nil {
		t.Fatal("start a process (in namespaces of its own, for which root needs CAP_SYS_ADMIN): ", err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // fails after the end
		_ = c.cmd.Wait()                                      // fails after another Wait
		if t.Failed() {
			t.Logf("stderr: %s", &c.errs)
		}
	})
}

// code waits for the end of process 1 and returns its exit code.
func (c *container) code(t *testing.T) int {
	t.Helper()
	err := c.cmd.Wait()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Error(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

// ready waits until the handler listens.
func (c *container) ready(t *testing.T) {
	t.Helper()
	azuretest.Eventually(t, "the handler listens", func() bool {
		res, err := http.Get("http://127.0.0.1:" + c.port + "/")
		return err == nil && res.Body.Close() == nil
	})
}

// run starts a run and waits for its end.
func (c *container) run(t *testing.T, id string) (run protocol.Run) {
	t.Helper()
	body, err := json.Marshal(protocol.StartRequest{RunID: id, WaitSeconds: 200})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post("http://127.0.0.1:"+c.port+protocol.RunPath, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return run
	}
	if err := errors.Join(json.NewDecoder(res.Body).Decode(&run), res.Body.Close()); err != nil || !run.Done {
		t.Errorf("got %s, %+v, %v", res.Status, run, err)
	}
	return run
}

// hostEnv returns the environment of the Functions host.
func (c *container) hostEnv(t *testing.T) (env []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, "home", "environ"))
	if err := errors.Join(err, json.Unmarshal(content, &env)); err != nil {
		t.Fatal(err)
	}
	return env
}

// processes returns the container's processes but the first as "PARENT: LAST ARGUMENT", where PARENT is the parent's
// last argument. A process that nobody has reaped has no arguments.
func (c *container) processes(t *testing.T) (names []string, pids map[string][]int) {
	t.Helper()
	last := map[int]string{c.cmd.Process.Pid: "host"}
	pids = map[string][]int{}
	rest := azuretest.Processes(t, nil)
	for found := true; found; {
		found = false
		rest = slices.DeleteFunc(rest, func(p azuretest.Process) bool {
			parent, ok := last[p.Parent]
			if !ok || last[p.PID] != "" {
				return false
			}
			name := "zombie"
			if len(p.Args) > 0 {
				name = filepath.Base(p.Args[len(p.Args)-1])
			}
			last[p.PID], found = name, true
			names, pids[name] = append(names, parent+": "+name), append(pids[name], p.PID)
			return true
		})
	}
	slices.Sort(names)
	return names, pids
}

// settings returns a spec as app settings.
func settings(t *testing.T, spec protocol.Spec, others ...string) []string {
	t.Helper()
	encoded, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range encoded {
		others = append(others, name+"="+value)
	}
	return others
}

// oneLine reports whether a text is one line that has all of the words.
func oneLine(text string, words ...string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return strings.Count(text, "\n") == 1 && strings.HasSuffix(text, "\n")
}
