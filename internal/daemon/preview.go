package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Preview returns what a daemon with this configuration would do to what containers share. It changes nothing, and
// another daemon may run on the state folder. The digest of the change is that of the daemon, and "" if none has run
// there before.
func Preview(ctx context.Context, cfg Config) (p workspace.Preview, err error) {
	dir, err := os.MkdirTemp("", "azf-plan-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	key, err := cfg.changeKey(ctx)
	if err != nil {
		return p, err
	}
	azure, err := cfg.newAzureView()
	if err != nil {
		return p, err
	}
	workspaces, err := workspace.New(workspace.Config{
		Dir: dir, Terraform: cfg.Tools.Terraform, CLIConfig: cfg.Tools.CLIConfig(), Package: cfg.providerPackage(),
		Backend: cfg.Backend, Environ: cfg.Environ, Env: cfg.FullTerraformEnv(), SubscriptionID: cfg.SubscriptionID,
		Find: azure.Find, DigestKey: key, Log: cfg.Log,
	})
	if err != nil {
		return p, err
	}
	settings := cfg.Azure
	settings.SubscriptionID, settings.RegistrySuffix = cfg.SubscriptionID, cfg.Cloud.RegistrySuffix
	spec, err := engine.FoundationSpec(ctx, settings, azure)
	if err != nil {
		return p, err
	}
	spec.Replace = cfg.FoundationChanges == config.FoundationReplace
	if p, err = workspaces.PreviewFoundation(ctx, WorkspacesPath(cfg.StateDir), spec); err != nil {
		return p, err
	}
	if key == nil {
		p.Change = ""
	}
	return p, nil
}

// changeKey returns the key of the digests of changes in the daemon's database, nil if there is no database.
func (cfg Config) changeKey(ctx context.Context) (key []byte, err error) {
	if _, err := os.Stat(DatabasePath(cfg.StateDir)); cfg.Database == "" && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	db, err := store.OpenReader(ctx, store.Config{Path: DatabasePath(cfg.StateDir), URL: cfg.Database})
	if err != nil {
		return nil, fmt.Errorf("read the daemon's database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.AuditSecret(ctx)
}

// WorkspacesPath returns the path of the Terraform workspaces in a state folder.
func WorkspacesPath(stateDir string) string { return filepath.Join(stateDir, "workspaces") }

// providerPackage returns the provider that the workspaces use.
func (cfg Config) providerPackage() workspace.Package {
	return workspace.Package{
		Dir: filepath.Dir(cfg.Tools.ProviderPath), Path: cfg.Tools.PackagePath(), Version: cfg.Tools.ProviderVersion,
		LockFile: cfg.Tools.LockFile(),
	}
}
