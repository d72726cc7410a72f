package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// filesWith returns the files below a folder that hold a string.
func filesWith(t *testing.T, dir, str string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), str) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// inPostgres returns a manager whose states are in a database of the test, and the URL of the database.
func inPostgres(t *testing.T) (m *Manager, sim *azuresim.Sim, url string) {
	t.Helper()
	azuretest.Needs(t, "PostgreSQL")
	url = pgtest.Database(t) + "&application_name=hunter2" // a part of the settings that must be in no file
	m, sim = cloudWith(t, func(c *Config, _ *provider.Config) {
		c.Backend = Backend{Type: "pg", Owner: "test", Settings: map[string]any{"conn_str": url}}
	})
	return m, sim, url
}

// withoutPool returns a manager like m that has none of its files, and no started providers.
func withoutPool(t *testing.T, m *Manager) *Manager {
	t.Helper()
	return peer(t, m, func(c *Config) { c.Providers = nil })
}

// TestFoundationInPostgres lets another daemon read, and apply again, the foundation of the first.
func TestFoundationInPostgres(t *testing.T) {
	m, _, _ := inPostgres(t)
	other := withoutPool(t, m)
	spec, f := foundation(t, m)
	if outputs, err := other.FoundationOutputs(t.Context()); err != nil ||
		outputs.InsightsConnection != spec.ApplicationInsightsConnectionString {
		t.Errorf("the other daemon reads %+v, %v", outputs, err)
	}
	if again, err := other.Foundation(t.Context(), f, nil); err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("the other daemon creates it again: %+v, %v", again, err)
	}
}

// TestStatesInPostgres lets one daemon provision containers at the same time and another one, which has none of the
// files, destroy them.
func TestStatesInPostgres(t *testing.T) {
	m, sim, _ := inPostgres(t)
	other := withoutPool(t, m)
	spec, _ := foundation(t, m)
	ids := []string{testID, strings.Repeat("ab", 32), strings.Repeat("cd", 32), strings.Repeat("ef", 32)}
	specOf := func(id string) FunctionApp {
		own := spec
		own.Name = "skls-" + id[:20]
		own.Tags = map[string]string{IDTag: id}
		return own
	}
	var done sync.WaitGroup
	for _, id := range ids {
		done.Go(func() { provisionTwice(t, m, id, specOf(id)) })
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
			if op, err := other.Destroy(t.Context(), containerOf(id), nil); err != nil || op.Plan != (Changes{Destroy: 1}) {
				t.Errorf("got %+v, %v", op, err)
			}
		})
	}
	done.Wait()
	if left := sim.Sites(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(other.ArchivePath(testID), stateFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a state in the archive: %v", err)
	}
	for _, dir := range []string{m.cfg.Dir, other.cfg.Dir} {
		if found := filesWith(t, dir, "hunter2"); len(found) > 0 {
			t.Errorf("the database's settings are in %v", found)
		}
	}
}

func provisionTwice(t *testing.T, m *Manager, id string, spec FunctionApp) {
	outputs, err := m.Provision(t.Context(), id, spec, nil)
	if err != nil || outputs.Operation.Plan != (Changes{Add: 1}) || outputs.HostName == "" {
		t.Errorf("got %+v, %v", outputs, err)
	}
	again, err := m.Provision(t.Context(), id, spec, nil)
	if err != nil || again.Operation.Plan != (Changes{}) || again.HostName != outputs.HostName {
		t.Errorf("second time: got %+v, %v; want no change", again, err)
	}
}

// TestWorkspacesOfAnotherDaemon goes on after another daemon, without its files.
func TestWorkspacesOfAnotherDaemon(t *testing.T) {
	m, sim, _ := inPostgres(t)
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	t.Run("it died before it created anything", func(t *testing.T) {
		if _, err := withoutPool(t, m).Destroy(t.Context(), containerOf(testID), nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("it died before it wrote the state", func(t *testing.T) {
		interrupt(t, m, sim, spec)
		if op := wantDestroyed(t, withoutPool(t, m), sim); op.Plan != (Changes{Destroy: 1}) {
			t.Errorf("got %+v", op.Plan)
		}
	})
	t.Run("another daemon provisions what it left", func(t *testing.T) {
		interrupt(t, m, sim, spec)
		other := withoutPool(t, m)
		outputs, err := other.Provision(t.Context(), testID, spec, nil)
		wantImported(t, outputs, err)
		wantDestroyed(t, other, sim)
	})
}

// TestErroredStateIsPushed lets the database refuse the state at the end of an apply.
func TestErroredStateIsPushed(t *testing.T) {
	m, sim, url := inPostgres(t)
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
	do("ALTER TABLE sockerless_azf_terraform.states ADD CONSTRAINT full_disk CHECK (data NOT LIKE '%" + spec.Name +
		"%') NOT VALID")
	if _, err := m.Provision(t.Context(), testID, spec, nil); err == nil {
		t.Fatal("the state was written: the test tests nothing")
	}
	if _, err := os.Stat(filepath.Join(m.Path(testID), erroredFile)); err != nil || len(sim.Sites()) != 1 {
		t.Fatalf("no %s (%v), or no app (%v): the test tests nothing", erroredFile, err, sim.Sites())
	}
	do("ALTER TABLE sockerless_azf_terraform.states DROP CONSTRAINT full_disk")
	outputs := provision(t, m, spec)
	if outputs.Operation.Plan != (Changes{}) || outputs.HostName == "" {
		t.Errorf("got %+v; want nothing left to do", outputs)
	}
	wantDestroyed(t, m, sim)
}

// TestRemoteStateThatStays replaces a state in a database by one that only somebody else can read or owns. It stays,
// and so does the app.
func TestRemoteStateThatStays(t *testing.T) {
	m, sim, url := inPostgres(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	provision(t, m, spec)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	read := func() (data string) {
		t.Helper()
		if err := conn.QueryRow(t.Context(),
			"SELECT data FROM sockerless_azf_terraform.states WHERE name LIKE '%containers%'").Scan(&data); err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := read()
	tofu := peer(t, m, func(c *Config) {
		c.Providers = nil
		useTofu(t, c)
	})
	write := func(data string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(),
			"UPDATE sockerless_azf_terraform.states SET data = $1 WHERE name LIKE '%containers%'", data); err != nil {
			t.Fatal(err)
		}
	}
	for name, state := range map[string]string{
		"encrypted": `{"serial":9,"lineage":"a","meta":{},"encrypted_data":"AAAA","encryption_version":"v0"}`,
		"newer":     strings.Replace(good, `"version": 4`, `"version": 5`, 1),
		"foreign":   strings.ReplaceAll(good, spec.Name, "skls-x"),
		"truncated": good[:len(good)/2],
	} {
		write(state)
		for tool, m := range map[string]*Manager{"terraform": m, "tofu": tofu} {
			_, destroyed := m.Destroy(t.Context(), containerOf(testID), nil)
			_, provisioned := m.Provision(t.Context(), testID, spec, nil)
			for _, err := range []error{destroyed, provisioned} {
				if err == nil || !strings.Contains(err.Error(), "in its place") {
					t.Errorf("%s, %s: got %v", name, tool, err)
				}
			}
			if read() != state || len(sim.Sites()) != 1 {
				t.Errorf("%s, %s: the state is %s, and the apps are %v", name, tool, read(), sim.Sites())
			}
		}
	}
	write(good)
	wantDestroyed(t, m, sim)
}
