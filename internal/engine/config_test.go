package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func imageConfig() *api.ImageConfig {
	c := new(api.ImageConfig)
	c.Env, c.Labels = []string{"PATH=/bin", "A=image"}, map[string]string{"team": "image", "kept": "yes"}
	c.Entrypoint, c.Cmd, c.WorkingDir, c.User, c.StopSignal = []string{"tool"}, []string{"serve"}, "/work", "app", "SIGINT"
	c.ExposedPorts = map[string]struct{}{"80/tcp": {}, "nonsense": {}}
	return c
}

func TestMerged(t *testing.T) {
	c := store.Container{ID: strings.Repeat("ab", 32), ImageConfig: imageConfig(), Config: api.Config{
		Env: []string{"A=own"}, Labels: map[string]string{"team": "own"}, Cmd: []string{"arg"},
	}}
	got := merged(c)
	port, err := api.ParsePort("80/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := api.Config{
		Hostname: "abababababab", User: "app", WorkingDir: "/work", StopSignal: "SIGINT", Entrypoint: []string{"tool"},
		Cmd: []string{"arg"}, Env: []string{"A=own", "PATH=/bin"}, Volumes: map[string]struct{}{},
		Labels: map[string]string{"team": "own", "kept": "yes"}, ExposedPorts: api.PortSet{port: {}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b api.Port) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if c.Config.Labels["kept"] != "" || len(c.Config.Env) != 1 {
		t.Errorf("the request was changed: %+v", c.Config)
	}
}

// TestCommand computes what runs, as Docker does.
func TestCommand(t *testing.T) {
	host := []string{"/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"}
	for _, row := range []struct {
		imageEntrypoint, imageCmd, entrypoint, cmd []string
		want                                       string
	}{
		{nil, nil, nil, nil, ""},
		{nil, nil, []string{"a"}, []string{"b"}, "a b"},
		{[]string{"tool"}, []string{"serve"}, nil, nil, "tool serve"},
		{[]string{"tool"}, []string{"serve"}, nil, []string{"arg"}, "tool arg"},
		{[]string{"tool"}, []string{"serve"}, []string{"sh"}, nil, "sh"},
		{[]string{"tool"}, []string{"serve"}, []string{"sh"}, []string{"-c"}, "sh -c"},
		{[]string{"tool"}, []string{"serve"}, []string{""}, []string{"arg"}, "arg"},
		{[]string{"tool"}, []string{"serve"}, []string{""}, nil, ""},
		{[]string{"tool"}, []string{"serve"}, []string{}, nil, "serve"},
		{nil, []string{"serve"}, nil, []string{"arg"}, "arg"},
		// Azure starts the Functions host of the image.
		{nil, host, nil, nil, ""},
		{nil, host, nil, []string{"arg"}, "arg"},
		{host, nil, nil, []string{"arg"}, "arg"},
		{[]string{"tini", "--"}, host, nil, nil, ""},
		{[]string{"tini", "--"}, host, nil, []string{"arg"}, "tini -- arg"},
		{nil, []string{"/opt/startup/start_nonappservice.sh"}, nil, nil, ""},
		{nil, []string{"dotnet", "/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost.dll"}, nil, nil, ""},
	} {
		c := store.Container{ImageConfig: new(api.ImageConfig)}
		c.ImageConfig.Entrypoint, c.ImageConfig.Cmd = row.imageEntrypoint, row.imageCmd
		c.Config.Entrypoint, c.Config.Cmd = row.entrypoint, row.cmd
		if got := command(c); got == nil || strings.Join(got, " ") != row.want {
			t.Errorf("%q %q with %q %q: got %q", row.imageEntrypoint, row.imageCmd, row.entrypoint, row.cmd, got)
		}
	}
}

// TestRefusedAsDockerDoes sends what Docker refuses, and expects Docker's words.
func TestRefusedAsDockerDoes(t *testing.T) {
	for body, want := range map[string]string{
		`{"StopSignal":"SIGFOO"}`:                                              "invalid signal: SIGFOO",
		`{"HostConfig":{"Memory":1024}}`:                                       "Minimum memory limit allowed is 6MB",
		`{"HostConfig":{"MemorySwap":10000000}}`:                               "You should always set the Memory limit",
		`{"HostConfig":{"Memory":8000000,"MemorySwap":7000000}}`:               "Minimum memoryswap limit",
		`{"HostConfig":{"RestartPolicy":{"Name":"no","MaximumRetryCount":3}}}`: "invalid restart policy: maximum retry",
		`{"HostConfig":{"RestartPolicy":{"Name":"often"}}}`:                    "invalid restart policy: unknown policy",
		`{"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}`: "can't create 'AutoRemove' container",
		`{"HostConfig":{"CpuPeriod":5}}`:                                       "CPU cfs period can not be less than 1ms",
		`{"HostConfig":{"CpuShares":-1}}`:                                      "invalid CPU shares",
		`{"HostConfig":{"OomScoreAdj":2000}}`:                                  "Invalid value, range for oom score adj",
		`{"HostConfig":{"ShmSize":-1}}`:                                        "SHM size can not be less than 0",
		`{"HostConfig":{"Isolation":"hyperv"}}`:                                "invalid isolation (hyperv)",
		`{"HostConfig":{"IpcMode":"odd"}}`:                                     "invalid IPC mode: odd",
		`{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}}`:        `invalid port specification: "x"`,
		`{"Env":["=x"]}`:        "invalid environment variable: =x",
		`{"WorkingDir":"here"}`: "the working directory 'here' is invalid",
		`{"Hostname":"` + strings.Repeat("h", 65) + `"}`:                "is too long (maximum 64 bytes)",
		`{"HostConfig":{"NanoCpus":1000000000,"CpuQuota":50000}}`:       "Conflicting options: Nano CPUs and CPU Quota",
		`{"HostConfig":{"MemorySwappiness":200}}`:                       "valid memory swappiness range is 0-100",
		`{"HostConfig":{"BlkioWeight":5}}`:                              "Range of blkio weight is from 10 to 1000",
		`{"HostConfig":{"Memory":8000000,"MemoryReservation":9000000}}`: "Minimum memory limit can not be less",
	} {
		if err := checkRequest(*decodeRequest(t, body)); api.KindOf(err) != api.InvalidParameter ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
	fine := `{"HostConfig":{"Memory":8000000,"MemorySwap":-1,"MemorySwappiness":-1,` +
		`"PortBindings":{"80/tcp":[{"HostPort":"80-81"}]}}}`
	if err := checkRequest(*decodeRequest(t, fine)); err != nil {
		t.Errorf("got %v", err)
	}
}
