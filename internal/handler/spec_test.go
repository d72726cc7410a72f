package handler

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// environ returns a spec as entries of the handler's environment, beside others.
func environ(t *testing.T, spec protocol.Spec, others ...string) []string {
	t.Helper()
	settings, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range settings {
		others = append(others, name+"="+value)
	}
	return others
}

func TestSpec(t *testing.T) {
	home := t.TempDir()
	host := []string{
		"HOME=/home", "HOSTNAME=h", "AzureWebJobsStorage=SECRET", "OTHER=SECRET", `AZF_COMMAND=["older"]`,
		"AZF_REFERENCE_0=a$b",
		"AZF_REFERENCE_1=@Microsoft.KeyVault(SecretUri=https://v/secrets/s)",
	}
	for name, row := range map[string]struct {
		spec  protocol.Spec
		code  int
		lines []string
		err   string
	}{
		"allow list": {
			spec: protocol.Spec{Env: []string{"A=$x\\", "my-var=1"}},
			lines: []string{
				"out A=$x\\", "out AZF_RUN_ID=r1", "out HOME=/home", "out HOSTNAME=h", "out PATH=/usr/bin:/bin", "out my-var=1",
			},
		},
		"own wins": {
			spec:  protocol.Spec{Env: []string{"PATH=/bin", "HOME=/x", "HOSTNAME=y"}},
			lines: []string{"out AZF_RUN_ID=r1", "out HOME=/x", "out HOSTNAME=y", "out PATH=/bin"},
		},
		"image not known": {
			spec:  protocol.Spec{PartialEnv: true, Env: []string{"OTHER=own"}},
			lines: []string{"out AZF_RUN_ID=r1", "out HOME=/home", "out HOSTNAME=h", "out OTHER=own", "out PATH=/usr/bin:/bin"},
		},
		"reference": {
			spec: protocol.Spec{
				Command: []string{"sh", "-c", "echo $R"}, References: map[string]string{"R": "AZF_REFERENCE_0"},
			},
			lines: []string{"out a$b"},
		},
		"reference that is not resolved": {
			spec: protocol.Spec{References: map[string]string{"R": "AZF_REFERENCE_1"}}, code: 126,
			err: "variable R: App Service has not resolved its reference",
		},
		"working dir": {
			spec: protocol.Spec{Command: []string{"pwd"}, WorkingDir: home}, lines: []string{"out " + home},
		},
		"relative program": {
			spec:  protocol.Spec{Command: []string{"./bin/echo", "a b", ""}, WorkingDir: "/usr"},
			lines: []string{"out a b "},
		},
		"program on the PATH of the command": {
			spec: protocol.Spec{Command: []string{"ls"}, Env: []string{"PATH=/nowhere:" + home}},
			code: 127, err: `not exist in $PATH`,
		},
		"program that cannot be executed": {
			spec: protocol.Spec{Command: []string{"passwd"}, Env: []string{"PATH=/etc"}}, code: 126, err: "permission denied",
		},
		"no such user":  {spec: protocol.Spec{User: "no-such-user"}, code: 126, err: "unable to find user no-such-user"},
		"no such group": {spec: protocol.Spec{Groups: []string{"no-such"}}, code: 126, err: "unable to find group no-such"},
	} {
		t.Run(name, func(t *testing.T) {
			if row.spec.Command == nil {
				row.spec.Command = []string{"env"}
			}
			f := setup(t, "echo default", environ(t, row.spec, host...)...)
			run := f.run(t, "r1", 0)
			lines := shown(run.Lines)
			slices.Sort(lines)
			if run.ExitCode != row.code || !slices.Equal(lines, row.lines) || !strings.Contains(run.Error, row.err) {
				t.Errorf("got %d, %q, %q, want %d, %q, %q", run.ExitCode, lines, run.Error, row.code, row.lines, row.err)
			}
		})
	}
}

// TestBrokenSpec has settings that were changed on the way: the command never runs in another form.
func TestBrokenSpec(t *testing.T) {
	whole, err := protocol.Spec{Command: []string{"true"}, Env: []string{"A=" + strings.Repeat("x", 60000)}}.Encode()
	if err != nil || len(whole) != 4 {
		t.Fatalf("got %d settings, %v", len(whole), err)
	}
	for name, row := range map[string]struct{ name, value, want string }{
		"part is missing": {"AZF_SPEC_1", "", "AZF_SPEC_1 is missing"},
		"part is cut":     {"AZF_SPEC_2", whole["AZF_SPEC_2"][:100], "decode AZF_SPEC"},
		"part is changed": {"AZF_SPEC_0", "$" + whole["AZF_SPEC_0"][1:], "decode AZF_SPEC"},
		"no number":       {"AZF_SPEC", "x", "not a number"},
		"later version":   {"AZF_SPEC_0", "eyJ2ZXJzaW9uIjoyfQ", "version 2 and this azf-handler reads version 1"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := maps.Clone(whole)
			settings[row.name] = row.value
			if row.value == "eyJ2ZXJzaW9uIjoyfQ" {
				settings["AZF_SPEC"] = "1"
			}
			var environ []string
			for name, value := range settings {
				environ = append(environ, name+"="+value)
			}
			run := setup(t, "echo default", environ...).run(t, "r1", 0)
			if run.ExitCode != 126 || len(run.Lines) > 0 || !strings.Contains(run.Error, row.want) {
				t.Errorf("got %+v, want 126 and %q", run, row.want)
			}
		})
	}
}

func TestUser(t *testing.T) {
	dir := t.TempDir()
	files := accounts{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group")}
	const passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\nci:x:1000:1001:CI:/home/ci:/bin/sh\n"
	const group = "root:x:0:\nci:x:1001:\ndocker:x:999:other,ci\nextra:x:2000:\n"
	err := os.WriteFile(files.passwd, []byte(passwd), 0o600)
	if err == nil {
		err = os.WriteFile(files.group, []byte(group), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		user   string
		groups []string
		want   string // uid gid groups home
		err    string
	}{
		"none":               {want: "<nil>"},
		"root":               {user: "root", want: "<nil>"},
		"name":               {user: "ci", want: "1000 1001 [999] /home/ci"},
		"number":             {user: "1000", want: "1000 1001 [999] /home/ci"},
		"unknown number":     {user: "65534", want: "65534 0 [] /"},
		"group by name":      {user: "ci:extra", want: "1000 2000 [] /home/ci"},
		"group by number":    {user: "ci:7", want: "1000 7 [] /home/ci"},
		"no group":           {user: "ci:", want: "1000 1001 [999] /home/ci"},
		"further groups":     {user: "ci", groups: []string{"extra", "8"}, want: "1000 1001 [999 2000 8] /home/ci"},
		"groups of root":     {groups: []string{"docker"}, want: "0 0 [999] /root"},
		"unknown name":       {user: "nobody", err: "unable to find user nobody"},
		"unknown group":      {user: "ci:nobody", err: "unable to find group nobody"},
		"number that is big": {user: "4294967296", err: "unable to find user"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := files.accountOf(row.user, row.groups)
			text := "<nil>"
			if c := got.credential; c != nil {
				text = fmt.Sprintln(c.Uid, c.Gid, c.Groups, got.home)
			}
			if row.err == "" && (err != nil || strings.TrimSpace(text) != row.want) ||
				row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("got %s, %v, want %s %s", text, err, row.want, row.err)
			}
		})
	}
	files.uid, files.gid = 1000, 1001
	for user, want := range map[string]string{"root": "not as root", "1000:7": "not as root", "1000:ci": ""} {
		if got, err := files.accountOf(user, nil); want == "" && (err != nil || got.credential != nil) ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s as user 1000: got %+v, %v", user, got, err)
		}
	}
}

func TestRunAsAnotherUser(t *testing.T) {
	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, which may change the user")
	}
	f := setup(t, "", environ(t, protocol.Spec{
		Command: []string{"sh", "-c", "id -u; id -g; echo $HOME"}, User: "65534:65533",
	})...)
	run := f.run(t, "r1", 0)
	if got := shown(run.Lines); len(got) != 3 || !slices.Equal(got[:2], []string{"out 65534", "out 65533"}) {
		t.Errorf("got %q, %s", got, run.Error)
	}
}

func TestHideProcess(t *testing.T) {
	if err := hideProcess(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 1, 0) // for the tests that follow
	}()
	if got, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0); got != 0 || errno != 0 {
		t.Errorf("dumpable is %d, %v", got, errno)
	}
}
