package workspace

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// inAzurite returns a manager whose states are in Azurite, and another one like it without started providers.
func inAzurite(t *testing.T) (m, other *Manager, sim *azuresim.Sim, storage azurite) {
	t.Helper()
	storage = startAzurite(t)
	m, sim = cloudWith(t, func(c *Config, pool *provider.Config) {
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
	})
	other = peer(t, m, func(c *Config) { c.Providers, c.LockTimeout = nil, time.Second })
	return m, other, sim, storage
}

// blobs returns the names of the blobs in the container of states.
func (a azurite) blobs(t *testing.T) (names []string) {
	t.Helper()
	for pages := a.client.NewListBlobsFlatPager(nil); pages.More(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range page.Segment.BlobItems {
			names = append(names, *blob.Name)
		}
	}
	return names
}

// TestLongStatesInAzureStorage lets one daemon provision and another one destroy, with states and locks in blobs.
func TestLongStatesInAzureStorage(t *testing.T) {
	m, other, sim, storage := inAzurite(t)
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	outputs, err := m.Provision(t.Context(), testID, spec, nil)
	if err != nil || outputs.Operation.Plan != (Changes{Add: 1}) || outputs.HostName == "" {
		t.Fatalf("got %+v, %v", outputs, err)
	}
	want := []string{
		"sockerless-azf/v1/containers/" + testID + ".tfstate", "sockerless-azf/v1/foundation/test.tfstate",
		"sockerless-azf/v1/plans/test/first.tfstate",
	}
	if diff := cmp.Diff(want, storage.blobs(t)); diff != "" {
		t.Error(diff)
	}
	if op := wantDestroyed(t, other, sim); op.Plan != (Changes{Destroy: 1}) {
		t.Errorf("got %+v", op)
	}
	for _, dir := range []string{m.cfg.Dir, other.cfg.Dir} {
		if found := filesWith(t, dir, azuriteKey); len(found) > 0 {
			t.Errorf("the account's key is in %v", found)
		}
	}
}

// TestLongLockOfAKilledOperation kills terraform while it holds the lease of its state.
func TestLongLockOfAKilledOperation(t *testing.T) {
	m, other, sim, _ := inAzurite(t)
	spec, _ := foundation(t, m)
	spec.Tags = map[string]string{IDTag: testID}
	sim.SetFaults(azuresim.Faults{AfterWrite: func(method, path string, _ int) {
		if method == http.MethodPut && strings.HasSuffix(path, spec.Name) {
			for _, p := range terraformProcesses(t, m, "apply") {
				kill(t, p)
			}
		}
	}})
	began := time.Now()
	if _, err := m.Provision(t.Context(), testID, spec, nil); err == nil {
		t.Fatal("terraform outlived its death: the test tests nothing")
	}
	sim.SetFaults(azuresim.Faults{})
	t.Run("it stays while nobody knows its owner", func(t *testing.T) {
		_, err := other.Provision(t.Context(), testID, spec, nil)
		lock, ok := LockOf(err)
		if !ok || lock.Who != Who() || lock.Created.Before(began.Add(-time.Second)) || lock.Created.After(time.Now()) {
			t.Errorf("got %+v, %v of %v", lock, ok, err)
		}
	})
	t.Run("it stays while its owner lives", func(t *testing.T) {
		if _, err := other.Provision(t.Context(), testID, spec, dead(false, nil)); err == nil {
			t.Error("the lock was removed")
		}
		unknown := errors.New("the owner is unknown")
		_, err := other.Provision(t.Context(), testID, spec, dead(false, unknown))
		if _, ok := LockOf(err); !ok || !errors.Is(err, unknown) {
			t.Errorf("got %v, want both errors", err)
		}
	})
	t.Run("it is removed when its owner is dead", func(t *testing.T) {
		var asked []Lock
		outputs, err := other.Provision(t.Context(), testID, spec, func(_ context.Context, lock Lock) (bool, error) {
			asked = append(asked, lock)
			return true, nil
		})
		wantImported(t, outputs, err)
		if len(asked) != 1 {
			t.Errorf("asked about %v", asked)
		}
	})
	wantDestroyed(t, other, sim)
}
