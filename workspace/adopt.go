package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// IDTag is the tag that holds the id of a function app's container. An app without it is not ours and is never touched.
const IDTag = "sockerless-container-id"

// appAddress is the function app's address in the module functionapp.
const appAddress = "azurerm_linux_function_app.this"

// adopt imports the function app that the last apply made in Azure but did not live to write into the state. The provider knows an app
// only once its creation is complete, so an apply that is killed or interrupted before may leave one.
func (m *Manager) adopt(ctx context.Context, id string, s *session) error {
	dir := m.Path(id)
	last, err := lastRun(dir, applyRun)
	if err != nil || !last.mayHaveLeft() {
		return err
	}
	known, err := resourcesInState(filepath.Join(dir, stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("workspace %s: %w", dir, err)
	}
	if known > 0 {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) && last.leftState() {
		return nil // the state was lost since: that is not for an import to cover up
	}
	content, err := os.ReadFile(filepath.Join(dir, varsFile))
	if err != nil {
		return fmt.Errorf("read variables: %w", err)
	}
	var spec FunctionApp
	if err := json.Unmarshal(content, &spec); err != nil {
		return fmt.Errorf("read variables in %s: %w", dir, err)
	}
	app, found, err := m.cfg.FindApp(ctx, spec.ResourceGroupName, spec.Name)
	if err != nil {
		return fmt.Errorf("look for function app %s: %w", spec.Name, err)
	}
	if !found || app.Tags[IDTag] != id {
		return nil // of somebody else's app, azurerm says that it exists already
	}
	err = m.initialised(ctx, dir, s, func() error {
		tf, err := m.terraform(dir, s)
		if err != nil {
			return err
		}
		if err := tf.Import(ctx, appAddress, app.ID, s.attach()); err != nil {
			return &RunError{Step: "import", Dir: dir, CorrelationID: s.correlation, Err: err}
		}
		return nil
	})
	_, secureErr := secureState(dir)
	if err != nil {
		return errors.Join(err, secureErr)
	}
	m.cfg.Log.Warn().Str("workspace", dir).Str("function_app", spec.Name).Str("correlation_id", s.correlation).Msg("imported an app that an earlier apply left behind")
	return secureErr
}
