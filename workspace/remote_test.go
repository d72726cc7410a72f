package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/workspace/provider"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestBackendSettings(t *testing.T) {
	key := containerKey(testID)
	for name, row := range map[string]struct {
		backend Backend
		want    map[string]any
		env     map[string]string
	}{
		"pg": {
			Backend{Type: "pg", Settings: map[string]any{"conn_str": "postgres://u:p@h/d"}},
			map[string]any{"schema_name": "sockerless_azf_terraform"}, map[string]string{"PG_CONN_STR": "postgres://u:p@h/d"},
		},
		"azurerm": {
			Backend{Type: "azurerm", Settings: map[string]any{"storage_account_name": "a", "container_name": nasty, "access_key": "k", "use_azuread_auth": true}},
			map[string]any{"storage_account_name": "a", "container_name": nasty, "use_azuread_auth": true, "key": "sockerless-azf/v1/containers/" + testID + ".tfstate"},
			map[string]string{"ARM_ACCESS_KEY": "k"},
		},
		"gcs": {
			Backend{Type: "gcs", Settings: map[string]any{"bucket": "b", "prefix": "ci/"}},
			map[string]any{"bucket": "b", "prefix": "ci/sockerless-azf/v1/containers/" + testID}, map[string]string{},
		},
		"http": {
			Backend{Type: "http", Settings: map[string]any{"address": "https://h/{key}", "lock_address": "https://h/{key}/lock", "password": "p"}},
			map[string]any{"address": "https://h/sockerless-azf-v1-containers-" + testID, "lock_address": "https://h/sockerless-azf-v1-containers-" + testID + "/lock"},
			map[string]string{"TF_HTTP_PASSWORD": "p"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if problems := row.backend.Check(); len(problems) > 0 {
				t.Error(problems)
			}
			dir := t.TempDir()
			if err := row.backend.render(dir, key); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			content, err := os.ReadFile(filepath.Join(dir, settingsFile))
			if err = errors.Join(err, json.Unmarshal(content, &got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.env, row.backend.Env()); diff != "" {
				t.Error(diff)
			}
			hcl, err := os.ReadFile(filepath.Join(dir, backendFile))
			if want := "terraform {\n  backend \"" + row.backend.Type + "\" {}\n}\n"; err != nil || string(hcl) != want {
				t.Errorf("got %s, %v", hcl, err)
			}
		})
	}
}

// leftBehind are the files below a folder that hold a text.
func leftBehind(t *testing.T, dir, text string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestStatesInPostgres lets one daemon provision containers at the same time and another one, which has none of the files, destroy them.
func TestStatesInPostgres(t *testing.T) {
	url := pgtest.Database(t) + "&application_name=hunter2" // a part of the settings that must be in no file
	var cfg Config
	m, sim := cloudWith(t, func(c *Config, _ *provider.Config) {
		c.Backend = Backend{Type: "pg", Owner: "test", Settings: map[string]any{"conn_str": url}}
		cfg = *c
	})
	cfg.Dir, cfg.Providers = t.TempDir(), nil
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec, f := foundation(t, m)
	if made, err := other.FoundationOutputs(t.Context()); err != nil || made.ServicePlanID != spec.ServicePlanID {
		t.Errorf("the other daemon sees %+v, %v", made, err)
	}
	if again, err := other.Foundation(t.Context(), f); err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("the other daemon makes it again: %+v, %v", again, err)
	}
	ids := []string{testID, strings.Repeat("ab", 32), strings.Repeat("cd", 32), strings.Repeat("ef", 32)}
	specOf := func(id string) FunctionApp {
		own := spec
		own.Name = "skls-" + id[:20]
		own.Tags = map[string]string{IDTag: id}
		return own
	}
	var done sync.WaitGroup
	for _, id := range ids {
		done.Go(func() {
			made, err := m.Provision(t.Context(), id, specOf(id))
			if err != nil || made.Operation.Plan != (Changes{Add: 1}) || made.HostName == "" {
				t.Errorf("got %+v, %v", made, err)
			}
			if again, err := m.Provision(t.Context(), id, specOf(id)); err != nil || again.Operation.Plan != (Changes{}) || again.HostName != made.HostName {
				t.Errorf("second time: got %+v, %v; want no change", again, err)
			}
		})
	}
	done.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if _, err := os.Stat(filepath.Join(m.Path(testID), stateFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a state in the workspace: %v", err)
	}
	for _, id := range ids {
		done.Go(func() {
			if _, err := other.Destroy(t.Context(), id); !errors.Is(err, ErrNoWorkspace) {
				t.Errorf("got %v, want no workspace before it is restored", err)
			}
			if err := other.Restore(id, true, func() (FunctionApp, error) { return specOf(id), nil }); err != nil {
				t.Error(err)
			}
			if run, err := other.Destroy(t.Context(), id); err != nil || run.Plan != (Changes{Destroy: 1}) {
				t.Errorf("got %+v, %v", run, err)
			}
		})
	}
	done.Wait()
	if left := sim.Sites(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	content, err := os.ReadFile(filepath.Join(other.ArchivePath(testID), stateFile))
	if err != nil || !strings.Contains(string(content), `"resources": []`) {
		t.Errorf("archived state: %s, %v", content, err)
	}
	for _, dir := range []string{m.cfg.Dir, other.cfg.Dir} {
		if found := leftBehind(t, dir, "hunter2"); len(found) > 0 {
			t.Errorf("the database's settings are in %v", found)
		}
	}
}

// TestRestoredWorkspaces is about what another daemon may have left.
func TestRestoredWorkspaces(t *testing.T) {
	url := pgtest.Database(t)
	var cfg Config
	m, sim := cloudWith(t, func(c *Config, _ *provider.Config) {
		c.Backend = Backend{Type: "pg", Owner: "test", Settings: map[string]any{"conn_str": url}}
		cfg = *c
	})
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	restored := func(t *testing.T, made bool) *Manager {
		t.Helper()
		cfg := cfg
		cfg.Dir, cfg.Providers = t.TempDir(), nil
		other, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Restore(testID, made, func() (FunctionApp, error) { return spec, nil }); err != nil {
			t.Fatal(err)
		}
		return other
	}
	t.Run("it died before it made anything", func(t *testing.T) {
		if _, err := restored(t, false).Destroy(t.Context(), testID); err != nil {
			t.Error(err)
		}
	})
	t.Run("the state was lost", func(t *testing.T) {
		if _, err := restored(t, true).Destroy(t.Context(), testID); !errors.Is(err, ErrNoState) || !strings.Contains(err.Error(), "v1/containers/"+testID) {
			t.Errorf("got %v, want a missing state that is named", err)
		}
	})
	t.Run("it died before it wrote the state", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancelAtPut(sim, spec.Name, cancel)
		if _, err := m.Provision(ctx, testID, spec); !errors.Is(err, context.Canceled) || len(sim.Sites()) != 1 {
			t.Fatalf("got %v with %v: the test tests nothing", err, sim.Sites())
		}
		sim.SetFaults(azuresim.Faults{})
		if run, err := restored(t, false).Destroy(t.Context(), testID); err != nil || run.Plan != (Changes{Destroy: 1}) || len(sim.Sites()) != 0 {
			t.Errorf("got %+v, %v with %v left", run.Plan, err, sim.Sites())
		}
	})
	t.Run("another daemon provisions what it left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancelAtPut(sim, spec.Name, cancel)
		if _, err := m.Provision(ctx, testID, spec); !errors.Is(err, context.Canceled) || len(sim.Sites()) != 1 {
			t.Fatalf("got %v with %v: the test tests nothing", err, sim.Sites())
		}
		sim.SetFaults(azuresim.Faults{})
		cfg := cfg
		cfg.Dir, cfg.Providers = t.TempDir(), nil
		other, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if made, err := other.Provision(t.Context(), testID, spec); err != nil || made.Operation.Plan.Add != 0 || made.HostName == "" {
			t.Errorf("got %+v, %v; want it imported", made, err)
		}
		if _, err := other.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 {
			t.Errorf("got %v with %v left", err, sim.Sites())
		}
	})
}

// TestErroredStateIsPushed lets the database refuse the state at the end of an apply.
func TestErroredStateIsPushed(t *testing.T) {
	url := pgtest.Database(t)
	m, sim := cloudWith(t, func(c *Config, _ *provider.Config) {
		c.Backend = Backend{Type: "pg", Owner: "test", Settings: map[string]any{"conn_str": url}}
	})
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	do := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	do("ALTER TABLE sockerless_azf_terraform.states ADD CONSTRAINT full_disk CHECK (data NOT LIKE '%" + spec.Name + "%') NOT VALID")
	if _, err := m.Provision(t.Context(), testID, spec); err == nil {
		t.Fatal("the state was written: the test tests nothing")
	}
	if _, err := os.Stat(filepath.Join(m.Path(testID), erroredFile)); err != nil || len(sim.Sites()) != 1 {
		t.Fatalf("no %s (%v), or no app (%v): the test tests nothing", erroredFile, err, sim.Sites())
	}
	do("ALTER TABLE sockerless_azf_terraform.states DROP CONSTRAINT full_disk")
	if made, err := m.Provision(t.Context(), testID, spec); err != nil || made.Operation.Plan != (Changes{}) || made.HostName == "" {
		t.Errorf("got %+v, %v; want nothing left to do", made, err)
	}
	if _, err := m.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 {
		t.Errorf("got %v with %v left", err, sim.Sites())
	}
}

// inAzurite are a manager whose states are in Azurite, and the configuration of others like it.
func inAzurite(t *testing.T) (*Manager, Config, *azuresim.Sim, azurite) {
	t.Helper()
	storage := startAzurite(t)
	var cfg Config
	m, sim := cloudWith(t, func(c *Config, pool *provider.Config) {
		var all []byte
		for _, path := range []string{c.Env["SSL_CERT_FILE"], storage.caFile} {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, content...)
		}
		both := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(both, all, 0o600); err != nil {
			t.Fatal(err)
		}
		c.Env["SSL_CERT_FILE"], c.Env["HTTPS_PROXY"], c.Env["NO_PROXY"] = both, storage.proxy, ""
		c.Backend = Backend{Type: "azurerm", Owner: "test", Settings: map[string]any{
			"storage_account_name": azuriteAccount, "container_name": "states", "access_key": azuriteKey,
		}}
		pool.Env = EagerEnvironment(c.Environ, c.Env)
		cfg = *c
	})
	return m, cfg, sim, storage
}

// TestStatesInAzureStorage lets one daemon provision and another one destroy, with states and locks in blobs.
func TestStatesInAzureStorage(t *testing.T) {
	m, cfg, sim, storage := inAzurite(t)
	cfg.Dir, cfg.Providers = t.TempDir(), nil
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	if made, err := m.Provision(t.Context(), testID, spec); err != nil || made.Operation.Plan != (Changes{Add: 1}) || made.HostName == "" {
		t.Fatalf("got %+v, %v", made, err)
	}
	var names []string
	for pages := storage.client.NewListBlobsFlatPager(nil); pages.More(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range page.Segment.BlobItems {
			names = append(names, *blob.Name)
		}
	}
	if diff := cmp.Diff([]string{"sockerless-azf/v1/containers/" + testID + ".tfstate", "sockerless-azf/v1/foundation/test.tfstate"}, names); diff != "" {
		t.Error(diff)
	}
	if err := other.Restore(testID, true, func() (FunctionApp, error) { return spec, nil }); err != nil {
		t.Fatal(err)
	}
	if run, err := other.Destroy(t.Context(), testID); err != nil || run.Plan != (Changes{Destroy: 1}) || len(sim.Sites()) != 0 {
		t.Errorf("got %+v, %v with %v left", run, err, sim.Sites())
	}
	for _, dir := range []string{m.cfg.Dir, other.cfg.Dir} {
		if found := leftBehind(t, dir, azuriteKey); len(found) > 0 {
			t.Errorf("the account's key is in %v", found)
		}
	}
}

// TestLockOfAKilledRun kills terraform while it holds the lease of its state.
func TestLockOfAKilledRun(t *testing.T) {
	m, cfg, sim, _ := inAzurite(t)
	cfg.Dir, cfg.Providers, cfg.LockTimeout = t.TempDir(), nil, time.Second
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	sim.SetFaults(azuresim.Faults{AfterWrite: func(method, path string, _ int) {
		if method == "PUT" && strings.HasSuffix(path, spec.Name) {
			killTerraform(t, m)
		}
	}})
	began := time.Now()
	if _, err := m.Provision(t.Context(), testID, spec); err == nil {
		t.Fatal("terraform outlived its death: the test tests nothing")
	}
	sim.SetFaults(azuresim.Faults{})
	_, err = other.Provision(t.Context(), testID, spec)
	lock, ok := LockOf(err)
	if !ok || lock.Who != Who() || lock.Created.Before(began.Add(-time.Second)) || lock.Created.After(time.Now()) {
		t.Fatalf("got %+v, %v of %v", lock, ok, err)
	}
	if err := other.Unlock(t.Context(), testID, lock); err != nil {
		t.Fatal(err)
	}
	if made, err := other.Provision(t.Context(), testID, spec); err != nil || made.Operation.Plan.Add != 0 || made.HostName == "" {
		t.Errorf("got %+v, %v; want the app imported", made, err)
	}
	if _, err := other.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 {
		t.Errorf("got %v with %v left", err, sim.Sites())
	}
}

// killTerraform kills the terraform processes of a manager, not their providers.
func killTerraform(t *testing.T, m *Manager) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Error(err)
	}
	for _, path := range paths {
		environ, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(environ), cliConfigEnv+"="+m.env[cliConfigEnv]+"\x00") {
			continue // not ours, or ended
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		pid, atoiErr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || atoiErr != nil || !strings.Contains(string(line), "\x00apply\x00") {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}
