package daemon_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/workspace"
)

// look is a command that shows what it finds: its own environment, and environment and command line of the container's
// other processes. Those are the Functions host, which is the first, and the handler, which is its parent.
const look = `echo "== env"; env
for dir in /proc/[0-9]*; do
	case ${dir#/proc/} in
	1) process="the Functions host" ;;
	$PPID) process=azf-handler ;;
	*) continue ;;
	esac
	for file in environ cmdline; do
		echo "== $file of $process"
		tr '\0' '\n' <$dir/$file
	done
done 2>/dev/null; exit 0`

// hostCanaries returns the settings of an app's Functions host that are secrets, by name.
func (p *playground) hostCanaries(t *testing.T) map[string]string {
	t.Helper()
	hosts := azuretest.Processes(t, func(process azuretest.Process) bool {
		return process.Parent == os.Getpid() && process.Getenv("WEBSITE_SITE_NAME") != "" &&
			strings.HasSuffix(process.Exe, "/"+funchost.Program)
	})
	if len(hosts) != 1 {
		t.Fatalf("hosts are %v", hosts)
	}
	found := map[string]string{}
	for _, name := range []string{
		"AzureWebJobsStorage", "DOCKER_REGISTRY_SERVER_PASSWORD", "APPLICATIONINSIGHTS_CONNECTION_STRING", "AZF_SPEC_0",
		"IDENTITY_HEADER", "MSI_SECRET", "WEBSITE_AUTH_ENCRYPTION_KEY", "WEBSITE_AUTH_SIGNING_KEY",
		"CONTAINER_ENCRYPTION_KEY", "MACHINEKEY_DecryptionKey", "CONTAINER_START_CONTEXT_SAS_URI",
	} {
		if value := hosts[0].Getenv(name); value != "" {
			found[name] = value
		}
	}
	return found
}

// documentedSights returns the list of docs/security.md.
func documentedSights(t *testing.T) (list []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	const before = "A command finds the secrets among them in these places, and in no others:\n\n"
	_, rest, ok := strings.Cut(string(page), before)
	rest, _, _ = strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatal("docs/security.md has no list")
	}
	for line := range strings.Lines(rest) {
		list = append(list, strings.TrimSpace(strings.TrimPrefix(line, "- ")))
	}
	return list
}

// TestLongWhatACommandSees looks for the secrets of the Functions host from inside commands of root and of another
// user.
func TestLongWhatACommandSees(t *testing.T) {
	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, since azf-handler changes the user")
	}
	seen, expected := map[string]bool{}, map[string]int{"storage key": 9, "identity": 10}
	for setup, count := range expected {
		p := newAzure(t)
		p.run(t, func(cfg *daemon.Config) {
			cfg.Azure.Registry, cfg.Azure.RegistryUsername = p.sim.Registry(), "canary"
			cfg.Azure.RegistryPassword = canaries["registry password"]
			if setup == "identity" {
				id, clientID := p.sim.Identity()
				cfg.Azure.Identity = &workspace.Identity{ID: id, ClientID: clientID}
			}
		})
		for user, who := range map[string]string{"": "as root", "65534:65534": "as another user"} {
			p.create(t, "web", api.Config{User: user, Cmd: []string{"/bin/sh", "-c", look}})
			var res api.WaitResponse
			p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
			p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
			secrets := p.hostCanaries(t)
			if len(secrets) != count || res.StatusCode != 0 {
				t.Errorf("%s: the host has %d secrets, want %d; the run ended with %+v", setup, len(secrets), count, res)
			}
			places, processes := map[string]string{}, 0
			place := ""
			for _, line := range p.logs(t, "web", "stdout=1") {
				line = strings.TrimPrefix(line, "stdout: ")
				if at, ok := strings.CutPrefix(line, "== "); ok {
					place = at
					processes++
				}
				places[place] += line + "\n"
			}
			if processes != 5 || !strings.Contains(places["cmdline of azf-handler"], "azf-handler") {
				t.Errorf("%s %s: the command looked at %d places, want 5", setup, who, processes)
			}
			for place, content := range places {
				for name, secret := range secrets {
					if strings.Contains(content, secret) {
						seen[who+": "+place] = true
					} else if seen[who+": "+place] {
						t.Errorf("%s %s: %s lacks %s, and has others", setup, who, place, name)
					}
				}
			}
			p.noFileHolds(t, secrets)
			p.must(t, http.MethodDelete, "/containers/web", nil, nil)
		}
		p.stop()
	}
	got := []string{}
	for place := range seen {
		got = append(got, place)
	}
	slices.Sort(got)
	if want := documentedSights(t); !slices.Equal(got, want) {
		t.Errorf("commands find secrets in %q; docs/security.md says %q", got, want)
	}
}

// noFileHolds checks that no file of an app holds a secret.
func (p *playground) noFileHolds(t *testing.T, secrets map[string]string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(filepath.Join(p.dir, "azuresim/hosts"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for name, secret := range secrets {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s holds %s", path, name)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("read %d files, %v", files, err)
	}
}
