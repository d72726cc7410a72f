package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// required are the flags of serve without which there is no configuration.
var required = []string{
	"--config=", "--subscription-id=11111111-2222-3333-4444-555555555555", "--resource-group=rg", "--location=westeurope",
	"--storage-account=store",
}

// TestMistakes: each is one line with exit status 2, and nothing else is printed.
func TestMistakes(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"", "no command given (sockerless-backend-azf --help lists the commands)"},
		{"srve", "unknown command srve: did you mean serve? (sockerless-backend-azf --help lists the commands)"},
		{"serve --storage-acount x", "unknown flag --storage-acount: did you mean --storage-account? " +
			"(sockerless-backend-azf serve --help lists the flags)"},
		{"demo --lisen x", "unknown flag --lisen: did you mean --listen? (sockerless-backend-azf demo --help lists the " +
			"flags)"},
		{"serve --registry-password=secret", "unknown flag --registry-password " +
			"(sockerless-backend-azf serve --help lists the flags)"},
		{"serve --owner", "flag --owner needs a value (sockerless-backend-azf serve --help lists the flags)"},
		{"serve now", `serve takes no arguments, got "now" (sockerless-backend-azf serve --help shows its use)`},
		{"config", "no command given (sockerless-backend-azf config --help lists the commands)"},
		{"config show", "unknown command show (sockerless-backend-azf config --help lists the commands)"},
		{"config --timeout=1", "unknown flag --timeout (sockerless-backend-azf config --help lists the flags)"},
		{"tools --tofo", "unknown flag --tofo: did you mean --tofu? (sockerless-backend-azf tools --help lists the flags)"},
		{"completion csh", "unknown command csh: did you mean zsh? (sockerless-backend-azf completion --help lists the " +
			"commands)"},
		{"bench", "unknown command bench (sockerless-backend-azf --help lists the commands)"},
	} {
		var printed bytes.Buffer
		err := run(t.Context(), strings.Fields(row.args), nil, &printed, &printed)
		if err == nil || err.Error() != row.want || command.ExitStatus(err) != 2 || printed.Len() > 0 {
			t.Errorf("%s: printed %q\ngot  %v\nwant %s", row.args, &printed, err, row.want)
		}
	}
}

func TestConfigurationMistakes(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"config", "print"}} {
		err := run(t.Context(), append(args, append(required, "--timeout=0")...), nil, io.Discard, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), "--timeout: 0 is out of range") || command.ExitStatus(err) != 2 {
			t.Errorf("%q: got %v", args, err)
		}
	}
}

// TestNoImageCanRun: serve and config print warn of a configuration that can run no image.
func TestNoImageCanRun(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "") // serve ends for want of a credential
	args := append(required, "--credential=environment")
	for sku, warned := range map[string]bool{"": true, "Y1": true, "FC1": true, "B1": false} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), append([]string{"serve", "--service-plan-sku=" + sku}, args...), nil, io.Discard, &stderr)
		if err == nil || !strings.Contains(err.Error(), "set AZURE_TENANT_ID") || command.ExitStatus(err) != 1 {
			t.Fatalf("serve: got %v", err)
		}
		if got := strings.Contains(stderr.String(), "no container can run"); got != warned {
			t.Errorf("serve with %q: logged %s", sku, &stderr)
		}
		err = run(t.Context(), append([]string{"config", "print", "--service-plan-sku=" + sku}, args...), nil, &stdout,
			io.Discard)
		if got := strings.HasPrefix(stdout.String(), "# Warning: no container can run"); err != nil || got != warned {
			t.Errorf("config print with %q: %v\n%s", sku, err, &stdout)
		}
	}
}

func TestAnonymousPullIsWarnedOf(t *testing.T) {
	const id = "11111111-2222-3333-4444-555555555555"
	const user, identity = "--registry-username=u", "--identity-client-id=" + id + " --identity-id=/subscriptions/" + id +
		"/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ci"
	for more, warned := range map[string]bool{"": true, user: false, identity: false} {
		args := append([]string{"config", "print", "--registry=r.io"}, required...)
		var stdout bytes.Buffer
		err := run(t.Context(), append(args, strings.Fields(more)...),
			[]string{"SOCKERLESS_AZF_REGISTRY_PASSWORD=p"}[:strings.Count(more, user)], &stdout, io.Discard)
		if got := strings.Contains(stdout.String(), "pulls from registry anonymously"); err != nil || got != warned {
			t.Errorf("%q: %v\n%s", more, err, &stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		var stdout bytes.Buffer
		if err := run(t.Context(), args, nil, &stdout, io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Run containers:", "Try it and prepare:", "About the program:", "  serve ", "  completion ",
		} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%q: no %q in\n%s", args, want, &stdout)
			}
		}
		for _, hidden := range []string{"azf-handler", "man "} {
			if strings.Contains(stdout.String(), "  "+hidden) {
				t.Errorf("%q: %q is in\n%s", args, hidden, &stdout)
			}
		}
	}
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"serve", "-h"}, nil, &stdout, io.Discard); err != nil ||
		!strings.Contains(stdout.String(), "--storage-account") || strings.Contains(stdout.String(), "password") &&
		strings.Contains(stdout.String(), "--registry-password") {
		t.Errorf("got %v and\n%s", err, &stdout)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		var stdout bytes.Buffer
		if err := run(t.Context(), args, nil, &stdout, io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"sockerless-backend-azf ", "\ncommit ", "\ngo1.", "\nterraform " + toolchain.TerraformVersion,
			"OpenTofu " + toolchain.OpenTofuVersion, "\nazurerm " + toolchain.ProviderVersion + "\n",
		} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%q: no %q in\n%s", args, want, &stdout)
			}
		}
	}
}

// TestVersionOfARelease: the linker's values count, and what Go recorded does not.
func TestVersionOfARelease(t *testing.T) {
	version, commit = "1.2.3", "0123abc"
	t.Cleanup(func() { version, commit = "", "" })
	if text := versionText(); !strings.HasPrefix(text, "sockerless-backend-azf 1.2.3\ncommit 0123abc\n") ||
		programVersion() != "1.2.3" {
		t.Errorf("got %s", text)
	}
}

func TestRecordedVersion(t *testing.T) {
	for _, row := range []struct {
		info            debug.BuildInfo
		version, commit string
	}{
		{debug.BuildInfo{}, "(devel)", "unknown"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3", "unknown"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}}}, "(devel)", "0123abc"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"},
		}}, "(devel)", "0123abc with changes"},
	} {
		if v, c := recorded(&row.info); v != row.version || c != row.commit {
			t.Errorf("%+v: got %s, %s", row.info, v, c)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var stdout bytes.Buffer
		err := run(t.Context(), []string{"completion", shell}, nil, &stdout, io.Discard)
		if err != nil || !strings.Contains(stdout.String(), "__complete") {
			t.Errorf("%s: got %v and\n%.300s", shell, err, &stdout)
		}
	}
	var stdout bytes.Buffer
	err := run(t.Context(), []string{"__complete", "serve", "--storage"}, nil, &stdout, io.Discard)
	if err != nil || !strings.Contains(stdout.String(), "--storage-account") {
		t.Errorf("got %v and\n%s", err, &stdout)
	}
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if err := run(t.Context(), []string{"man", dir}, nil, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]string{
		"sockerless-backend-azf.8": "Docker API on top", "sockerless-backend-azf-serve.8": "--storage-account",
		"sockerless-backend-azf-config-print.8": "origin of each value",
	} {
		content, err := os.ReadFile(filepath.Join(dir, page))
		if err != nil || !strings.Contains(strings.ReplaceAll(string(content), "\n", " "), want) {
			t.Errorf("%s: %v, no %q in\n%.500s", page, err, want, content)
		}
	}
	if hidden, err := filepath.Glob(filepath.Join(dir, "*handler*")); err != nil || len(hidden) > 0 {
		t.Errorf("pages of hidden commands: %v, %v", hidden, err)
	}
}
