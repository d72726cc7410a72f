package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// lockFile is Terraform's dependency lock file.
const lockFile = ".terraform.lock.hcl"

// initialised runs a workspace's first command. What terraform init would leave is put there without it; init runs when the
// configuration asks for more, or when the command says that it is missing.
func (m *Manager) initialised(ctx context.Context, dir string, s *session, command func() error) error {
	if s.needs.init || m.cfg.Package.LockFile == "" {
		if err := m.init(ctx, dir, s); err != nil {
			return err
		}
		return command()
	}
	if err := m.cfg.Package.place(dir, s.lease == nil); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	err := command()
	if err == nil || ctx.Err() != nil || !wantsInit(err) {
		return err
	}
	m.cfg.Log.Warn().Err(err).Str("workspace", dir).Str("correlation_id", s.correlation).Msg("terraform init is needed after all")
	for _, name := range []string{marker, lockFile} { // the lock file is the one from above
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("initialise workspace: %w", err)
		}
	}
	if err := m.init(ctx, dir, s); err != nil {
		return err
	}
	return command()
}

// wantsInit tells whether a command failed for want of terraform init, in the words of terraform and tofu.
func wantsInit(err error) bool {
	return says(err, "Inconsistent dependency lock file", "Required plugins are not installed", "Backend initialization required", "Module not installed",
		"Missing required provider", "Initialization required")
}

// command runs one command, in a workspace that it may be the first of.
func (m *Manager) command(ctx context.Context, dir, step string, s *session, command func(*tfexec.Terraform) error) error {
	return m.initialised(ctx, dir, s, func() error {
		tf, err := m.terraform(dir, s)
		if err != nil {
			return err
		}
		if err := command(tf); err != nil {
			return &TerraformError{Step: step, Dir: dir, CorrelationID: s.correlation, Err: err}
		}
		return nil
	})
}

// Package is the unpacked provider that all workspaces use.
type Package struct {
	// Dir is its folder in the mirror, and Path what terraform calls that folder below .terraform/providers.
	Dir  string
	Path string
	// LockFile is the content of the dependency lock file, with the package's hash. Empty: terraform init writes one.
	LockFile string
}

// place writes the lock file, and with link makes .terraform as terraform init does, so that terraform finds the provider.
func (p Package) place(dir string, link bool) error {
	path := filepath.Join(dir, lockFile)
	if have, err := os.ReadFile(path); err != nil || string(have) != p.LockFile {
		if err := writeFile(path, []byte(p.LockFile)); err != nil {
			return err
		}
	}
	if !link {
		return nil
	}
	path = filepath.Join(dir, ".terraform", "providers", p.Path)
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

// marker names terraform and provider that a workspace was initialised with.
var marker = filepath.Join(".terraform", "initialized")

// init runs terraform init unless the workspace was initialised by the same terraform and provider.
func (m *Manager) init(ctx context.Context, dir string, s *session) error {
	marker := filepath.Join(dir, marker)
	if have, err := os.ReadFile(marker); err == nil && string(have) == m.cfg.InitKey && m.cfg.InitKey != "" {
		return nil
	}
	tf, err := m.terraform(dir, s)
	if err != nil {
		return err
	}
	opts := []tfexec.InitOption{tfexec.Upgrade(false)}
	if m.cfg.Backend.Remote() {
		opts = append(opts, tfexec.BackendConfig(settingsFile), tfexec.Reconfigure(true))
		if err := deselectWorkspace(dir); err != nil {
			return fmt.Errorf("initialise workspace: %w", err)
		}
	}
	if err := tf.Init(ctx, opts...); err != nil {
		return &TerraformError{Step: "init", Dir: dir, CorrelationID: s.correlation, Err: err}
	}
	if err := os.Chmod(filepath.Join(dir, ".terraform"), 0o700); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	if err := os.Chmod(filepath.Join(dir, lockFile), 0o600); err != nil {
		return fmt.Errorf("initialise workspace: %w", err)
	}
	if m.cfg.Backend.Remote() {
		if err := m.cfg.Backend.selectWorkspace(dir, m.key(dir)); err != nil {
			return fmt.Errorf("initialise workspace: %w", err)
		}
	}
	return writeFile(marker, []byte(m.cfg.InitKey))
}
