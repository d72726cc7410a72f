package handler

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// TestSubcommand: a command that the Functions host passes on may have any name.
func TestSubcommand(t *testing.T) {
	for _, row := range []struct {
		args []string
		port string
		want string
	}{
		{nil, "", ""}, {[]string{"host"}, "", "host"}, {[]string{"probe"}, "", "probe"}, {[]string{"handler"}, "", ""},
		{[]string{"host", "example.com"}, "8080", ""}, {[]string{"probe"}, "8080", ""}, {[]string{"--", "host"}, "", ""},
		{[]string{"other"}, "", ""},
	} {
		if got := Subcommand(row.args, []string{portEnv + "=" + row.port}); got != row.want {
			t.Errorf("%q with port %q is %q, want %q", row.args, row.port, got, row.want)
		}
	}
}

// TestFindImage has no image.json beside the test's program.
func TestFindImage(t *testing.T) {
	for _, args := range [][]string{nil, {"handler"}, {"handler", "x"}, {"x"}} {
		img, rest, err := findImage(args, nil)
		if img != nil || err != nil || !slices.Equal(rest, args) {
			t.Errorf("%q in a user's own image: got %v, %q, %v", args, img, rest, err)
		}
		// After Host, the image was there.
		if img, _, err := findImage(args, []string{originalEnv + "=[]"}); img != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q in a wrapped image without image.json: got %v, %v", args, img, err)
		}
	}
}

// TestBrokenOriginalEnv: no command runs without the container's own variables.
func TestBrokenOriginalEnv(t *testing.T) {
	cfg, err := readConfig([]string{"echo"}, []string{originalEnv + "=broken"}, &image{})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{handler: handler{newRuns(cfg, &buffer{}, &buffer{})}}
	if run := f.run(t, "r", 0); run.ExitCode != 126 || !strings.Contains(run.Error, originalEnv) {
		t.Errorf("got %+v", run)
	}
}

func TestHostEnv(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err := errors.Join(err, os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	container := []string{
		"PATH=" + dockerPath, "HOME=/root", "PORT=8080", "A=1", "AZF_ORIG_ENV=forged", "AzureWebJobsScriptRoot=/evil",
		"ASPNETCORE_URLS=http://evil", "FUNCTIONS_WORKER_RUNTIME=custom",
	}
	user := []string{
		"LD_PRELOAD=/x", "ld_audit=1", "DOTNET_A=1", "COMPlus_A=1", "CORECLR_A=1", "TMPDIR=/t", "TZDIR=/z", "SSL_CERT_DIR=/s",
		"SSL_CERT_FILE=a\"\\\n",
	}
	got, err := hostEnv(dir, slices.Concat(container, user), "/root")
	if err != nil {
		t.Fatal(err)
	}
	hidden := got[len(got)-1]
	want := []string{
		"PORT=8080", "A=1", "FUNCTIONS_WORKER_RUNTIME=custom",
		"PATH=" + dir + "/host" + strings.ReplaceAll(dockerPath, ":", ":"+dir+"/host"), "HOME=" + dir + "/home",
		"TMPDIR=" + dir + "/tmp", "DOTNET_USE_POLLING_FILE_WATCHER=true", "DOTNET_RUNNING_IN_CONTAINER=true",
		"ASPNETCORE_URLS=http://*:8080", "ASPNETCORE_CONTENTROOT=" + dir + "/host/azure-functions-host",
		"AzureWebJobsScriptRoot=" + dir + "/home/site/wwwroot", hidden,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// The handler sees the container's variables again, and none of the host's.
	back, err := containerEnv(got)
	if err != nil || !slices.Equal(back[len(back)-len(user):], user) {
		t.Errorf("got %q, %v, want %q at the end", back, err, user)
	}
	for _, name := range []string{"PATH", "HOME", "DOTNET_USE_POLLING_FILE_WATCHER", "DOTNET_RUNNING_IN_CONTAINER"} {
		if value := lookup(back, name); value != "" {
			t.Errorf("the handler sees %s=%s", name, value)
		}
	}
	write("libs", protocol.InstallFolder+"/host/lib\n\n"+"/opt/lib\n")
	write("host/etc/ssl/certs/ca-certificates.crt", "")
	write("host/usr/share/zoneinfo/UTC", "")
	got, err = hostEnv(dir, []string{"PATH=/mine", "HOME=/own"}, "/root")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"LD_LIBRARY_PATH": dir + "/host/lib:/opt/lib", "SSL_CERT_DIR": dir + "/host/etc/ssl/certs",
		"SSL_CERT_FILE": dir + "/host/etc/ssl/certs/ca-certificates.crt", "TZDIR": dir + "/host/usr/share/zoneinfo",
		"ASPNETCORE_URLS": "http://*:80", "FUNCTIONS_WORKER_RUNTIME": "custom", originalEnv: `["PATH=/mine","HOME=/own"]`,
	} {
		if got := lookup(got, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestListening(t *testing.T) {
	var f Facts
	f.addListening(`  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:1F90 00000000:0000 0A 0
   1: 00000000:0050 00000000:0000 0A 0
   2: 0A00000A:0051 0A00000B:1234 01 0
   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0
   4: 00000000000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0
   5: 0000000000000000FFFF00000100007F:0053 00000000000000000000000000000000:0000 0A 0
   6: 0A00000A:0016 00000000:0000 0A 0
`)
	if want := []int{22, 80}; !slices.Equal(f.Listening, want) {
		t.Errorf("got %v, want %v", f.Listening, want)
	}
}
