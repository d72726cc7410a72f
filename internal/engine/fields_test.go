package engine

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func decodeRequest(t *testing.T, body string) *store.Container {
	t.Helper()
	var req api.CreateRequest
	if err := json.Unmarshal([]byte(body), &req); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	c := requested(strings.Repeat("a", 64), "web", req)
	return &c
}

func TestFieldsThatCannotBeHonoured(t *testing.T) {
	used := map[string]bool{}
	for _, row := range []struct{ body, refusal, warning string }{
		{`{}`, "", ""},
		// The docker CLI always sends this.
		{`{"Hostname":"","Domainname":"","User":"","AttachStdout":true,"Tty":false,"Env":null,"Image":"a",
			"Volumes":{},"WorkingDir":"","OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"LogConfig":{"Type":"",
			"Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},
			"VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":null,
			"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Links":null,"OomScoreAdj":0,
			"PidMode":"","ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Memory":0,
			"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"MaskedPaths":null,"Devices":[]},
			"NetworkingConfig":{"EndpointsConfig":{"default":{}}}}`, "", ""},
		{`{"Healthcheck":{"Test":["NONE"]},"HostConfig":{"NetworkMode":"bridge","AutoRemove":true,` +
			`"LogConfig":{"Type":"json-file"}}}`, "", ""},
		{`{"HostConfig":{"Binds":["/a:/b"]}}`, "volumes", ""},
		{`{"HostConfig":{"Mounts":[{"Type":"volume","Target":"/a"}]}}`, "volumes", ""},
		{`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/src","Target":"/a"}]}}`, "volumes", ""},
		{`{"HostConfig":{"VolumesFrom":["a"]}}`, "volumes", ""},
		{`{"HostConfig":{"Tmpfs":{"/a":""}}}`, "volumes", ""},
		{`{"Volumes":{"/a":{}}}`, "volumes", ""},
		{`{"HostConfig":{"NetworkMode":"host"}}`, "networks", ""},
		{`{"HostConfig":{"NetworkMode":"none"}}`, "networks", ""},
		{`{"HostConfig":{"NetworkMode":"container:a"}}`, "networks", ""},
		{`{"HostConfig":{"Links":["a:b"]}}`, "networks", ""},
		{`{"NetworkingConfig":{"EndpointsConfig":{"mine":{}}}}`, "networks", ""},
		{`{"NetworkDisabled":true}`, "networks", ""},
		{`{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"172.17.0.5"}}}}}`, "",
			"network addresses"},
		{`{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["a"]}}}}`, "", "network addresses"},
		{`{"NetworkingConfig":{"EndpointsConfig":{"default":{"MacAddress":"02:42:ac:11:00:02"}}}}`, "", "network addresses"},
		{`{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{}}}}}`, "", ""},
		{`{"Healthcheck":{"Interval":1000000000}}`, "health checks", ""},
		{`{"HostConfig":{"CgroupnsMode":"host"}}`, "shared namespaces", ""},
		{`{"HostConfig":{"Cgroup":"container:a"}}`, "shared namespaces", ""},
		{`{"Hostname":"web"}`, "", "the host and domain name"},
		{`{"Domainname":"example.com"}`, "", "the host and domain name"},
		{`{"HostConfig":{"MemorySwappiness":10}}`, "", "resource limits"},
		{`{"HostConfig":{"OomKillDisable":true}}`, "", "resource limits"},
		{`{"HostConfig":{"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1}]}}`, "", "resource limits"},
		{`{"HostConfig":{"CpuRealtimeRuntime":1}}`, "", "resource limits"},
		{`{"HostConfig":{"CpuCount":1}}`, "", "resource limits"},
		{`{"HostConfig":{"CgroupParent":"/x"}}`, "", "kernel and runtime"},
		{`{"HostConfig":{"Isolation":"hyperv"}}`, "", "kernel and runtime"},
		{`{"HostConfig":{"Isolation":"default"}}`, "", ""},
		// What an inspect shows can be sent again.
		{`{"HostConfig":{"ShmSize":67108864,"Runtime":"runc","IpcMode":"private","CgroupnsMode":"private"}}`, "", ""},
		{`{"HostConfig":{"VolumeDriver":"foo"}}`, "", "kernel and runtime"},
		{`{"Healthcheck":{"Test":["CMD","true"]}}`, "health checks", ""},
		{`{"HostConfig":{"Privileged":true}}`, "privileged containers", ""},
		{`{"HostConfig":{"Devices":[{"PathOnHost":"/dev/null"}]}}`, "devices", ""},
		{`{"HostConfig":{"DeviceRequests":[{"Count":-1}]}}`, "devices", ""},
		{`{"HostConfig":{"CapAdd":["NET_ADMIN"]}}`, "added capabilities", ""},
		{`{"HostConfig":{"PidMode":"host"}}`, "shared namespaces", ""},
		{`{"HostConfig":{"IpcMode":"container:a"}}`, "shared namespaces", ""},
		{`{"HostConfig":{"RestartPolicy":{"Name":"always"}}}`, "restart policies", ""},
		{`{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}}`, "", "ports are not published"},
		{`{"HostConfig":{"PublishAllPorts":true}}`, "", "ports are not published"},
		{`{"HostConfig":{"Memory":1048576}}`, "", "resource limits"},
		{`{"HostConfig":{"PidsLimit":10}}`, "", "resource limits"},
		{`{"HostConfig":{"Ulimits":[{"Name":"nofile","Soft":1,"Hard":1}]}}`, "", "resource limits"},
		{`{"User":"1000"}`, "", "the user is applied only by"},
		{`{"HostConfig":{"Dns":["1.1.1.1"]}}`, "", "name resolution"},
		{`{"HostConfig":{"ExtraHosts":["a:127.0.0.1"]}}`, "", "name resolution"},
		{`{"HostConfig":{"CapDrop":["ALL"]}}`, "", "security options"},
		{`{"HostConfig":{"ReadonlyRootfs":true}}`, "", "security options"},
		{`{"HostConfig":{"Init":true}}`, "", "kernel and runtime"},
		{`{"HostConfig":{"LogConfig":{"Type":"syslog"}}}`, "", "log driver"},
		{`{"StopSignal":"SIGINT"}`, "", "stop does not end a run"},
	} {
		c := decodeRequest(t, row.body)
		warnings, err := checkFields(c)
		all := strings.Join(warnings, "")
		if row.refusal != "" {
			want := "This backend (azf) does not support " + row.refusal + "."
			if api.KindOf(err) != api.NotImplemented || !strings.HasPrefix(err.Error(), want+" The request has ") {
				t.Errorf("%s: got %v, want %q", row.body, err, want)
			}
		} else if err != nil || len(warnings) > 1 || (row.warning == "") != (all == "") ||
			!strings.Contains(all, row.warning) {
			t.Errorf("%.80s: got %q, %v; want %q", row.body, warnings, err, row.warning)
		}
		if strings.Contains(row.body, `"Source":"/src"`) && !strings.Contains(err.Error(), `"/src:/a"`) {
			t.Errorf("%s: got %v, want source and target", row.body, err)
		}
		for _, f := range fields {
			if f.capability == "" {
				used[f.names] = used[f.names] || f.used(c)
			} else {
				used[f.names] = used[f.names] || f.value(c) != ""
			}
		}
	}
	for _, f := range fields {
		if !used[f.names] {
			t.Errorf("no row uses %s", f.names)
		}
	}
}

// TestDocsShowTheFields compares the lists in docs/api.md with fields.
func TestDocsShowTheFields(t *testing.T) {
	content, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, entry := range strings.Split(string(content), "\n- ") {
		entry, _, _ = strings.Cut(entry, "\n\n")
		entries = append(entries, strings.Join(strings.Fields(entry), " "))
	}
	for _, f := range fields {
		entry := f.capability + ": " + f.names
		if f.capability == "" {
			entry = f.names + `: "` + f.warning + `"`
		}
		if !slices.Contains(entries, entry) {
			t.Errorf("docs/api.md lacks the entry\n%s", entry)
		}
	}
}
