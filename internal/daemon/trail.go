package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/audit/anchor"
	"github.com/sockerless/backend-azf/internal/audit/sink"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/tfmodules"
	"github.com/sockerless/backend-azf/workspace"
)

// CheckpointPath returns the path of the newest checkpoint of the audit trail in a state folder.
func CheckpointPath(stateDir string) string { return filepath.Join(stateDir, "audit.checkpoint") }

// storeConfig returns what opens the daemon's database. home is the id of the state folder.
func (cfg Config) storeConfig(home string) store.Config {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return store.Config{
		Path: DatabasePath(cfg.StateDir), URL: cfg.Database,
		Daemon: audit.Daemon{Home: home, Owner: cfg.Azure.Owner, Version: cfg.Version, Host: host},
	}
}

// DatabasePath returns the path of the SQLite database of a state folder.
func DatabasePath(stateDir string) string { return filepath.Join(stateDir, "state.db") }

// trail is how a daemon keeps the audit trail.
type trail struct {
	config engine.AuditConfig
	steps  engine.Trail
	key    []byte // of change digests
}

func (cfg Config) newTrail(ctx context.Context, db *store.DB, home string) (t trail, err error) {
	if t.key, err = db.AuditSecret(ctx); err != nil {
		return t, err
	}
	key, err := audit.LoadKey(cfg.StateDir, home)
	if err != nil {
		return t, err
	}
	tools, err := cfg.auditedTools()
	if err != nil {
		return t, err
	}
	sinks, err := sink.Open(cfg.Audit.Sinks, home)
	if err != nil {
		return t, err
	}
	t.config = engine.AuditConfig{
		Start: audit.Record{Tools: &tools, Configuration: cfg.Shown, CheckpointKey: key.Public},
		EarlierPlan: func(id string) string {
			path := filepath.Join(cfg.StateDir, "workspaces", "containers", id, "apply.plan.json")
			sum, err := workspace.FileDigest(path)
			if err != nil {
				return "" // it cannot be read
			}
			return sum
		},
		Sign: key.Sign, Path: CheckpointPath(cfg.StateDir), Sinks: sinks,
		Keep: cfg.Audit.Keep, ArchiveKeep: cfg.ArchiveKeep,
	}
	if cfg.Audit.Anchor == config.AnchorAzure {
		if t.config.Anchor, err = cfg.newAnchor(); err != nil {
			return t, err
		}
	}
	t.steps = engine.Trail{Store: db, Tools: tools, SharedIDs: cfg.Providers.Reuse > 1, Settings: cfg.Azure}
	t.steps.Gate, err = gate.New(ctx, gate.Config{
		Sets: cfg.Policy.Sets, Digest: cfg.Policy.Digest, Contact: cfg.Policy.Contact, Guarded: true, Store: db,
		Owner: cfg.Azure.Owner, SubscriptionID: cfg.SubscriptionID, ResourceGroup: cfg.Azure.ResourceGroup,
		Location: cfg.Azure.Location, Tools: &tools,
	})
	return t, err
}

// CheckPolicies returns an error that names each mistake in the policies of a configuration.
func CheckPolicies(ctx context.Context, cfg config.Config) error {
	_, err := gate.New(ctx, gate.Config{Sets: cfg.Policy.Sets, Digest: cfg.Policy.Digest, Guarded: true})
	return err
}

// newAnchor returns what puts checkpoints into the storage account.
func (cfg Config) newAnchor() (func(context.Context, audit.Checkpoint, []byte) error, error) {
	if cfg.Cloud.StorageSuffix == "" {
		return nil, errors.New("audit_anchor: the cloud's Resource Manager names no domain of storage accounts: " +
			"set it to off")
	}
	a, err := anchor.New(anchor.Config{
		URL: fmt.Sprintf("https://%s.blob.%s/%s", path.Base(cfg.Azure.StorageAccount), cfg.Cloud.StorageSuffix,
			cfg.Audit.Container),
		Credential: cfg.Credential.Token, Transport: cfg.Transport,
	})
	if err != nil {
		return nil, err
	}
	return a.Put, nil
}

// auditedTools names the programs that plan and apply, with their digests.
func (cfg Config) auditedTools() (audit.Tools, error) {
	name := "terraform"
	if cfg.Tools.Tofu {
		name = "tofu"
	}
	sum, err := workspace.FileDigest(cfg.Tools.Terraform)
	if err != nil {
		return audit.Tools{}, fmt.Errorf("read %s for the audit trail: %w", name, err)
	}
	modules, err := modulesDigest()
	if err != nil {
		return audit.Tools{}, fmt.Errorf("read the modules for the audit trail: %w", err)
	}
	return audit.Tools{
		Terraform: audit.Tool{Name: name, Version: cfg.Tools.TerraformVersion, SHA256: sum},
		Provider:  audit.Tool{Name: "azurerm", Version: cfg.Tools.ProviderVersion, SHA256: cfg.Tools.ProviderSHA256},
		Modules:   modules,
	}, nil
}

// modulesDigest returns the digest of the names and the contents of all files of the embedded modules.
func modulesDigest() (string, error) {
	h := sha256.New()
	for _, module := range []fs.FS{
		tfmodules.FunctionApp(), tfmodules.Removal(), tfmodules.ServicePlan(), tfmodules.ServicePlanRemoval(),
		tfmodules.Foundation(),
	} {
		err := fs.WalkDir(module, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := fs.ReadFile(module, path)
			if err == nil {
				_, err = fmt.Fprintf(h, "%s %d\n%s", path, len(content), content)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
