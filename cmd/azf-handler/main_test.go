package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/handler"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

const dockerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// TestWrapped runs commands in wrapped images that hold no other file than static programs.
func TestWrapped(t *testing.T) {
	const image = `{"Env": ["PATH=/app", "A=image", "LD_LIBRARY_PATH=/image"], "Entrypoint": ["tool"], "Cmd": ["show"]}`
	const withUser = `{"Env": ["PATH=/app"], "User": "ci", "WorkingDir": "/srv/deep", "Entrypoint": ["tool", "show"]}`
	env := func(entries ...string) []string { return append(entries, "AZF_RUN_ID=r") }
	for name, row := range map[string]struct {
		image   string
		environ []string
		env     []string // nil: not compared
		want    string   // arguments, folder, user, group, groups
	}{
		"image alone": {
			image: image, environ: []string{"PATH=" + dockerPath, "HOME=/"},
			env:  env("A=image", "HOME=/", "LD_LIBRARY_PATH=/image", "PATH=/app"),
			want: "[tool show] / 0 0 []",
		},
		"complete spec": {
			image: image,
			environ: settings(t, protocol.Spec{
				Command: []string{"tool", "show", "x"}, Env: []string{"A=own", "LD_PRELOAD=/x", "DOTNET_A=1"}, WorkingDir: "/app",
			}, "LD_LIBRARY_PATH=/evil", "OTHER=SECRET", "HOSTNAME=h"),
			env:  env("A=own", "DOTNET_A=1", "HOME=/", "HOSTNAME=h", "LD_PRELOAD=/x", "PATH=/app"),
			want: "[tool show x] /app 0 0 []",
		},
		"path of the container": {
			image:   `{"Env": ["PATH=/image"], "Cmd": ["tool", "show"]}`,
			environ: settings(t, protocol.Spec{Env: []string{"PATH=/app", "HOME=/own"}}),
			env:     env("HOME=/own", "PATH=/app"),
			want:    "[tool show] / 0 0 []",
		},
		"no spec": {
			image: image,
			environ: []string{
				"PATH=/app:/q", "LD_PRELOAD=/x", "LD_LIBRARY_PATH=/mine", "DOTNET_A=1", "SSL_CERT_FILE=/y", "TMPDIR=/z", "B=1",
				"AzureWebJobsStorage=SECRET", "TZDIR=a\"b",
			},
			env: env("A=image", "B=1", "DOTNET_A=1", "HOME=/", "LD_LIBRARY_PATH=/mine", "LD_PRELOAD=/x", "PATH=/app:/q",
				"SSL_CERT_FILE=/y", "TMPDIR=/z", "TZDIR=a\"b"),
			want: "[tool show] / 0 0 []",
		},
		"partial spec": {
			image: image, environ: settings(t, protocol.Spec{PartialEnv: true, Env: []string{"A=own"}}, "B=1", "A=other"),
			env:  env("A=own", "B=1", "HOME=/", "LD_LIBRARY_PATH=/image", "PATH=/app"),
			want: "[tool show] / 0 0 []",
		},
		"no path": {
			image: `{"Cmd": ["/app/tool", "show"]}`,
			env:   env("HOME=/", "PATH="+dockerPath), want: "[/app/tool show] / 0 0 []",
		},
		"user of the image": {
			image: withUser, env: env("HOME=/home/ci", "PATH=/app"), want: "[tool show] /srv/deep 1000 1001 [2002]",
		},
		"user of the container": {
			image: withUser, environ: settings(t, protocol.Spec{User: "65532:7", Groups: []string{"extra"}, WorkingDir: "/new"}),
			want: "[tool show] /new 65532 7 [2002]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := wrapped(t, row.image)
			if row.image == withUser {
				c.write(t, "etc/passwd", "ci:x:1000:1001::/home/ci:/bin/sh\n")
				c.write(t, "etc/group", "ci:x:1001:\nextra:x:2002:ci\n")
			}
			c.start(t, row.environ, "host")
			c.ready(t)
			run := c.run(t, "r")
			var seen struct {
				Env, Args []string
				Dir       string
				UID, GID  int
				Groups    []int
			}
			if len(run.Lines) != 1 || run.ExitCode != 0 || json.Unmarshal([]byte(run.Lines[0].Content()), &seen) != nil {
				t.Fatalf("got %+v", run)
			}
			got := fmt.Sprintf("%v %s %d %d %v", seen.Args, seen.Dir, seen.UID, seen.GID, seen.Groups)
			slices.Sort(seen.Env)
			slices.Sort(row.env)
			if got != row.want || row.env != nil && !slices.Equal(seen.Env, row.env) {
				t.Errorf("got %s %q, want %s %q", got, seen.Env, row.want, row.env)
			}
			c.checkHost(t)
			c.checkFolder(t, seen.Dir)
		})
	}
}

// checkHost checks what the Functions host has got in place of the container's variables.
func (c *container) checkHost(t *testing.T) {
	t.Helper()
	var got []string
	for _, entry := range c.hostEnv(t) {
		name, _, _ := strings.Cut(entry, "=")
		_, own := protocol.Match(name, []string{
			"LD_*", "DOTNET_*", "PATH", "HOME", "TMPDIR", "TZDIR", "SSL_CERT_*", "ASPNETCORE_*", "AzureWebJobsScript*",
			"FUNCTIONS_WORKER_RUNTIME",
		})
		if own {
			got = append(got, entry)
		}
	}
	slices.Sort(got)
	const host = "/.sockerless/host"
	want := []string{
		"ASPNETCORE_CONTENTROOT=" + host + "/azure-functions-host", "ASPNETCORE_URLS=http://*:80",
		"AzureWebJobsScriptRoot=/.sockerless/home/site/wwwroot", "DOTNET_RUNNING_IN_CONTAINER=true",
		"DOTNET_USE_POLLING_FILE_WATCHER=true", "FUNCTIONS_WORKER_RUNTIME=custom", "HOME=/.sockerless/home",
		"LD_LIBRARY_PATH=" + host + "/lib:" + host + "/usr/lib",
		"PATH=" + host + strings.ReplaceAll(dockerPath, ":", ":"+host),
		"SSL_CERT_DIR=" + host + "/etc/ssl/certs", "SSL_CERT_FILE=" + host + "/etc/ssl/certs/ca-certificates.crt",
		"TMPDIR=/.sockerless/tmp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the Functions host has %q, want %q", got, want)
	}
}

// checkFolder checks that a folder of the container is root's, as Docker would create it.
func (c *container) checkFolder(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(c.root, dir))
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o755 || !ok || stat.Uid != 0 {
		t.Errorf("%s is %v of user %d", dir, info.Mode(), stat.Uid)
	}
}

// TestOrphans leaves processes to the Functions host's parent and to the handler, and ends them.
func TestOrphans(t *testing.T) {
	c := wrapped(t, `{"Cmd": ["/app/tool", "daemonize"]}`)
	c.start(t, []string{"HOST_ORPHAN=1", "HOST_EXIT=9"}, "host")
	c.ready(t)
	if run := c.run(t, "r"); run.ExitCode != 0 || run.Error != "" {
		t.Errorf("got %+v", run)
	}
	const server, ours = "Microsoft.Azure.WebJobs.Script.WebHost", "host: Microsoft.Azure.WebJobs.Script.WebHost"
	names, pids := c.processes(t)
	want := sorted([]string{"handler: pause", ours, "host: pause", server + ": handler"})
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	for _, pid := range pids["pause"] {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	azuretest.Eventually(t, "no process is left", func() bool {
		names, _ := c.processes(t)
		return slices.Equal(names, sorted([]string{ours, server + ": handler"}))
	})
	// Process 1 has no default action for signals.
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil || c.code(t) != 9 {
		t.Errorf("ended with %d, %v: %s", c.cmd.ProcessState.ExitCode(), err, &c.errs)
	}
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// TestManyOrphans ends commands and orphans at the same time.
func TestManyOrphans(t *testing.T) {
	c := wrapped(t, `{"Cmd": ["/app/tool", "crowd"]}`)
	c.start(t, nil, "host")
	c.ready(t)
	var runs sync.WaitGroup
	for i := range 20 {
		runs.Go(func() {
			if run := c.run(t, fmt.Sprint(i)); run.ExitCode != 7 || run.Error != "" {
				t.Errorf("got %+v", run)
			}
		})
	}
	runs.Wait()
	azuretest.Eventually(t, "no process is left", func() bool {
		names, _ := c.processes(t)
		return len(names) == 2
	})
}

// TestSignals: the Functions host gets the signals, and its end is that of azf-handler, in any folder.
func TestSignals(t *testing.T) {
	for _, row := range []struct {
		signal     syscall.Signal
		exit, want int
	}{
		{syscall.SIGTERM, 0, 0}, {syscall.SIGINT, 3, 3}, {syscall.SIGQUIT, 255, 255}, {syscall.SIGHUP, -9, 137},
	} {
		t.Run(row.signal.String(), func(t *testing.T) {
			c := wrapped(t, "{}")
			c.startHere(t, []string{fmt.Sprint("HOST_EXIT=", row.exit), "PORT=8080"}, "host")
			c.ready(t)
			if err := c.cmd.Process.Signal(row.signal); err != nil {
				t.Fatal(err)
			}
			if got := c.code(t); got != row.want {
				t.Errorf("ended with %d, want %d: %s", got, row.want, &c.errs)
			}
			received, err := os.ReadFile(filepath.Join(c.dir, "home", "signal"))
			if err != nil || string(received) != row.signal.String() {
				t.Errorf("the Functions host got %q, %v", received, err)
			}
			env := c.hostEnv(t)
			for _, want := range []string{
				"ASPNETCORE_URLS=http://*:8080", "HOME=" + c.dir + "/home",
				"LD_LIBRARY_PATH=" + c.dir + "/host/lib:" + c.dir + "/host/usr/lib",
			} {
				if !slices.Contains(env, want) {
					t.Errorf("the Functions host lacks %s: %q", want, env)
				}
			}
		})
	}
}

// TestRefusals: a container that cannot work ends at once and says why.
func TestRefusals(t *testing.T) {
	const server = ".sockerless/host/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"
	for name, row := range map[string]struct {
		file, content string // "": the file is removed
		environ       []string
		want          []string
	}{
		"no image.json":     {file: ".sockerless/image.json", want: []string{"not a wrapped image", "image.json"}},
		"broken image.json": {file: ".sockerless/image.json", content: "{", want: []string{"image.json", "JSON"}},
		"later image.json": {
			file: ".sockerless/image.json", content: `{"version": 2}`, want: []string{"version 2", "reads version 1"},
		},
		"another image": {
			environ: []string{"AZF_IMAGE_DIGEST=sha256:b"}, want: []string{"sha256:a", "the container is of sha256:b"},
		},
		"no Functions host": {file: server, want: []string{"start the Functions host", "WebHost", "no such file"}},
		"another processor": {
			file: server, content: "\x7fELF", want: []string{"exec format error", "another kind of processor"},
		},
		"no interpreter": {file: server, content: "#!/no/such\n", want: []string{"no such file", "interpreter"}},
		"settings that are too large": {
			environ: []string{"PATH=" + strings.Repeat("\"", 100<<10)}, want: []string{"settings are too large"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := wrapped(t, "{}")
			if path := filepath.Join(c.root, row.file); row.content != "" {
				c.write(t, row.file, row.content)
			} else if row.file != "" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			c.startHere(t, row.environ, "host")
			if got := c.code(t); got != 1 || !oneLine(c.errs.String(), row.want...) {
				t.Errorf("ended with %d and %q, want 1 and %q", got, &c.errs, row.want)
			}
		})
	}
	t.Run("digest of the image", func(t *testing.T) {
		c := wrapped(t, "{}")
		c.startHere(t, []string{"AZF_IMAGE_DIGEST=sha256:a"}, "host")
		c.ready(t)
	})
}

func TestProbe(t *testing.T) {
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = everywhere.Close(), local.Close() }) // the process ends anyway
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	for user, readable := range map[string]bool{"0:0": true, "65532:7": false} {
		t.Run(user, func(t *testing.T) {
			c := wrapped(t, `{"Env": ["TMPDIR=/app"], "Cmd": ["/.sockerless/init", "probe"]}`)
			c.write(t, "etc/resolv.conf", "search x\nnameserver 127.0.0.1\n")
			c.start(t, settings(t, protocol.Spec{User: user, Groups: []string{"8"}, Env: []string{"TMPDIR=/app", "A=hush"}},
				"B=hush"), "host")
			c.ready(t)
			run := c.run(t, "r")
			var f handler.Facts
			if len(run.Lines) != 1 || run.ExitCode != 0 || json.Unmarshal([]byte(run.Lines[0].Content()), &f) != nil {
				t.Fatalf("got %+v", run)
			}
			ids := fmt.Sprintf("%d:%d", f.UID, f.GID)
			got := fmt.Sprint(f.InitArgs, f.InitEnvironReadable, f.Groups, f.Nameservers, len(f.FreeBytes))
			want := fmt.Sprint([]string{"/.sockerless/init", "host"}, readable, []int{8}, []string{"127.0.0.1"}, 2)
			if got != want || ids != user || f.FreeBytes["/"] == 0 || f.FreeBytes["/app"] == 0 ||
				len(f.Addresses)+len(f.Errors) == 0 {
				t.Errorf("got %s and %+v, want %s", got, f, want)
			}
			if len(f.CapEff) != 16 || len(f.CapBnd) != 16 || f.Seccomp == "" || f.NoNewPrivs == "" || f.Kernel == "" {
				t.Errorf("facts of the kernel are missing: %+v", f)
			}
			if !slices.Contains(f.Listening, port(everywhere)) || slices.Contains(f.Listening, port(local)) {
				t.Errorf("listening are %v, and not %d, of all addresses %d", f.Listening, port(local), port(everywhere))
			}
			if strings.Contains(run.Lines[0].Content(), "hush") {
				t.Errorf("values of the environment are shown: %s", run.Lines[0].Content())
			}
		})
	}
}
