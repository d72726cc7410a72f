package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// remoteLockTimeout is the default of Config.LockTimeout. In a remote backend locks are contended for a moment: pg
// takes one that all states share.
const remoteLockTimeout = 20 * time.Second

func (m *Manager) lockTimeout() *tfexec.LockTimeoutOption {
	if !m.cfg.Backend.Remote() {
		return tfexec.LockTimeout("0s")
	}
	return tfexec.LockTimeout(m.cfg.LockTimeout.String())
}

// key returns the key of the state of a workspace.
func (m *Manager) key(dir string) string {
	switch name := m.nameOf(dir); KindOf(name) {
	case KindFoundation:
		return m.cfg.Backend.foundationKey()
	case KindServicePlan:
		return m.cfg.Backend.servicePlanKey(filepath.Base(dir))
	default:
		return containerKey(name)
	}
}

// stateName returns a name of the state of a workspace, for messages.
func (m *Manager) stateName(dir string) string {
	if !m.cfg.Backend.Remote() {
		return stateFile
	}
	return "state " + m.key(dir) + " in the backend " + m.cfg.Backend.Type
}

// readState reads the state of a workspace. No state at all wraps fs.ErrNotExist.
func (m *Manager) readState(ctx context.Context, s *session) (*state, error) {
	if !m.cfg.Backend.Remote() {
		return readState(s.dir)
	}
	content, err := m.pull(ctx, s)
	if outputContains(err, unreadable...) {
		return nil, fmt.Errorf("%s cannot be read, and nothing was changed: put a state in its place that can be, or move "+
			"it away, so that what it should hold is looked for in Azure: %w", m.stateName(s.dir), err)
	}
	if err != nil {
		return nil, err
	}
	pulled, err := parseState([]byte(content))
	if errors.Is(err, fs.ErrNotExist) || pulled != nil && len(pulled.Resources) == 0 && pulled.Serial <= 1 {
		// Backends create a state without resources when they are asked for one.
		return nil, fmt.Errorf("read %s: %w", m.stateName(s.dir), fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.stateName(s.dir), err)
	}
	pulled.content = []byte(content)
	var document any
	if json.Unmarshal(pulled.content, &document) == nil {
		s.secrets.addNamed(document)
	}
	return pulled, m.widen(ctx, s, pulled)
}

// unreadable are the messages of terraform and tofu for a state that is damaged, encrypted or of a newer Terraform.
var unreadable = []string{"Unsupported state file format", "encrypted payload"}

// Polls of state pull: pg does not wait for the lock under which it creates a new state.
const (
	pullPolls = 40
	pullPause = 250 * time.Millisecond
)

// pull returns a state of a remote backend, "" when there is none.
func (m *Manager) pull(ctx context.Context, s *session) (content string, err error) {
	for poll := 1; ; poll++ {
		err = m.command(ctx, s, "state pull", func(tf *tfexec.Terraform) error {
			content, err = tf.StatePull(ctx)
			return err
		})
		if err == nil {
			return strings.TrimSpace(content), nil
		}
		if poll == pullPolls || !outputContains(err, "failed to lock state in Postgres") {
			return "", err
		}
		pause := time.NewTimer(rand.N(2 * pullPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return "", context.Cause(ctx)
		}
	}
}
