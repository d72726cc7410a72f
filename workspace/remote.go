package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/sockerless/backend-azf/tfmodules"
)

// remoteLockTimeout is how long a run waits for the lock of its state. In a remote backend locks are contended for a moment: pg takes one
// that all states share.
const remoteLockTimeout = 20 * time.Second

func (m *Manager) lockTimeout() *tfexec.LockTimeoutOption {
	if !m.cfg.Backend.Remote() {
		return tfexec.LockTimeout("0s")
	}
	return tfexec.LockTimeout(m.cfg.LockTimeout.String())
}

// render writes a module's files, its variables and those of the backend into dir.
func (m *Manager) render(dir string, module fs.FS, vars any) error {
	if err := render(dir, module, vars); err != nil {
		return fmt.Errorf("render workspace %s: %w", dir, err)
	}
	if err := m.cfg.Backend.render(dir, m.key(dir)); err != nil {
		return fmt.Errorf("render workspace %s: %w", dir, err)
	}
	return nil
}

// key is that of the state of a workspace.
func (m *Manager) key(dir string) string {
	if dir == m.foundation() {
		return m.cfg.Backend.foundationKey()
	}
	return containerKey(filepath.Base(dir))
}

// Restore makes a container's workspace when another daemon, with the same remote backend, has the one that it was provisioned in. made tells
// whether that is known to have succeeded. app is asked for the spec only if the workspace is missing: azurerm looks at it, and at what it
// names, even to destroy. With a local backend, Restore does nothing.
func (m *Manager) Restore(id string, made bool, app func() (FunctionApp, error)) error {
	if !m.cfg.Backend.Remote() {
		return nil
	}
	for _, dir := range []string{m.Path(id), m.ArchivePath(id)} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	spec, err := app()
	if err != nil {
		return fmt.Errorf("restore workspace: %w", err)
	}
	// As that daemon may have left it: what has succeeded has a state, and what has not may be in Azure without one.
	last := Operation{Started: m.cfg.Now().UTC()}
	if made {
		last.Finished, last.StateWritten = last.Started, true
	}
	if err := m.render(m.Path(id), tfmodules.FunctionApp(), spec); err != nil {
		return err
	}
	return writeVerdict(m.Path(id), applying, last)
}

// stateName is what people call the state of a workspace.
func (m *Manager) stateName(dir string) string {
	if !m.cfg.Backend.Remote() {
		return stateFile
	}
	return "state " + m.key(dir) + " in the backend " + m.cfg.Backend.Type
}

// readState reads the state of a workspace. No state at all wraps fs.ErrNotExist.
func (m *Manager) readState(ctx context.Context, dir string, s *session) (*state, error) {
	if !m.cfg.Backend.Remote() {
		return readState(dir)
	}
	content, err := m.pull(ctx, dir, s)
	if err != nil {
		return nil, err
	}
	var pulled state
	if content != "" {
		if err := json.Unmarshal([]byte(content), &pulled); err != nil {
			return nil, fmt.Errorf("read state of %s: %w", dir, err)
		}
	}
	pulled.content = []byte(content)
	// Backends make an empty state when they are asked for one.
	if len(pulled.Resources) == 0 && pulled.Serial <= 1 {
		return nil, fmt.Errorf("read %s: %w", m.stateName(dir), fs.ErrNotExist)
	}
	return &pulled, nil
}

// Tries of a first command: pg does not wait for the lock under which it makes a new state.
const (
	pullTries = 40
	pullPause = 250 * time.Millisecond
)

// pull gets a state from a remote backend, "" when there is none.
func (m *Manager) pull(ctx context.Context, dir string, s *session) (content string, err error) {
	err = m.initialised(ctx, dir, s, func() error {
		for try := 1; ; try++ {
			tf, err := m.terraform(dir, s)
			if err != nil {
				return err
			}
			if content, err = tf.StatePull(ctx); err == nil {
				return nil
			}
			if try == pullTries || !strings.Contains(err.Error(), "failed to lock state in Postgres") {
				return &TerraformError{Step: "state pull", Dir: dir, CorrelationID: s.correlation, Err: err}
			}
			pause := time.NewTimer(rand.N(2 * pullPause))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return context.Cause(ctx)
			}
		}
	})
	return strings.TrimSpace(content), err
}
