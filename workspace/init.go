package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// lockFile is Terraform's dependency lock file.
const lockFile = ".terraform.lock.hcl"

// marker names the terraform and the provider that a workspace was initialised with.
var marker = filepath.Join(".terraform", "initialized")

// prepare makes a workspace ready for the session's first command. It writes the files that terraform init would leave,
// without running it; terraform init runs where the configuration asks for more.
func (m *Manager) prepare(ctx context.Context, s *session) error {
	if s.ready {
		return nil
	}
	if s.needs.init || m.cfg.Package.LockFile == "" {
		if err := m.init(ctx, s); err != nil {
			return err
		}
	} else if err := m.cfg.Package.place(s.dir, s.lease == nil); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	s.ready = true
	return nil
}

// forgetInit makes the next terraform init begin anew. The lock file may be the one that place wrote.
func forgetInit(dir string) error {
	for _, name := range []string{marker, lockFile} {
		if err := remove(dir, name); err != nil {
			return fmt.Errorf("initialise workspace: %w", err)
		}
	}
	return nil
}

// Package is the unpacked provider that all workspaces use.
type Package struct {
	// Dir is its folder in the mirror. Path is Terraform's path of that folder below .terraform/providers.
	Dir  string
	Path string
	// Version is the provider's, which the workspaces require. Empty: any that their modules allow.
	Version string
	// LockFile is the content of the dependency lock file, with the package's hash. Empty: terraform init writes one.
	LockFile string
}

// renderVersion writes the version of the provider that a workspace requires.
func (p Package) renderVersion(dir string) error {
	if p.Version == "" {
		return nil
	}
	azurerm := map[string]string{"source": "hashicorp/azurerm", "version": p.Version}
	return writeJSON(filepath.Join(dir, versionFile), map[string]any{
		"terraform": map[string]any{"required_providers": map[string]any{"azurerm": azurerm}},
	})
}

// place writes the lock file. With link it also creates .terraform as terraform init does, so that terraform finds the
// provider.
func (p Package) place(dir string, link bool) error {
	if err := keepFile(filepath.Join(dir, lockFile), []byte(p.LockFile)); err != nil {
		return err
	}
	if !link {
		return nil
	}
	path := filepath.Join(dir, ".terraform", "providers", p.Path)
	if have, err := os.Readlink(path); err == nil && have == p.Dir {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(p.Dir, path)
}

// init runs terraform init unless the workspace was initialised by the same terraform and provider.
func (m *Manager) init(ctx context.Context, s *session) error {
	marker := filepath.Join(s.dir, marker)
	if have, err := os.ReadFile(marker); err == nil && string(have) == m.cfg.InitKey && m.cfg.InitKey != "" {
		return nil
	}
	tf, err := m.terraform(s)
	if err != nil {
		return err
	}
	opts := []tfexec.InitOption{tfexec.Upgrade(false)}
	if m.cfg.Backend.Remote() {
		opts = append(opts, tfexec.BackendConfig(settingsFile), tfexec.Reconfigure(true))
	}
	s.initialised = true
	// What is left of an earlier init may be half of it, or that of another version. terraform init also refuses a
	// selected Terraform CLI workspace that does not exist yet.
	err = errors.Join(os.RemoveAll(filepath.Join(s.dir, ".terraform")), remove(s.dir, lockFile))
	if err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	if err := tf.Init(ctx, opts...); err != nil {
		return &TerraformError{Step: "init", Dir: s.dir, CorrelationID: s.correlation, Err: s.secrets.err(err)}
	}
	if err := os.Chmod(filepath.Join(s.dir, ".terraform"), 0o700); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	if err := os.Chmod(filepath.Join(s.dir, lockFile), 0o600); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	if m.cfg.Backend.Remote() {
		if err := m.cfg.Backend.selectWorkspace(s.dir, m.key(s.dir)); err != nil {
			return fmt.Errorf("initialise workspace: %w", err)
		}
	}
	return writeFile(marker, []byte(m.cfg.InitKey))
}
