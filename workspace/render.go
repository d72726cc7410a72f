package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of a workspace beside the module's own and those of its operations.
const (
	varsFile    = "terraform.tfvars.json"
	versionFile = "version_override.tf.json"
	stateFile   = "terraform.tfstate"
)

// render writes a module's files, its variables unless they are nil, the provider's exact version and the backend's
// files into dir.
func (m *Manager) render(dir string, module fs.FS, vars any) error {
	if err := render(dir, module, vars); err != nil {
		return fmt.Errorf("render workspace %s: %w", dir, err)
	}
	if err := m.cfg.Package.renderVersion(dir); err != nil {
		return fmt.Errorf("render workspace %s: %w", dir, err)
	}
	if err := m.cfg.Backend.render(dir, m.key(dir)); err != nil {
		return fmt.Errorf("render workspace %s: %w", dir, err)
	}
	return nil
}

// render writes a module's files and its variables, unless they are nil, into dir.
func render(dir string, module fs.FS, vars any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := fs.Glob(module, "*.tf")
	if err != nil {
		return err
	}
	for _, name := range files {
		content, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		if err := keepFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	if vars == nil {
		return nil
	}
	return writeVars(dir, vars)
}

func writeVars(dir string, vars any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(vars); err != nil {
		return err
	}
	return keepFile(filepath.Join(dir, varsFile), buf.Bytes())
}

// temporary is the form of the names of files that are being written.
const temporary = ".tmp-*"

// keepFile writes a file unless it has that content already: an operation may be reading it.
func keepFile(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	return writeFile(path, content)
}

// writeFile replaces a whole file, so that a crash leaves the old or the new content.
func writeFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), temporary) // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	// The name, too, must outlive a power failure.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove removes a file that may be gone.
func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
