package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
)

// Preview is what Foundation would do.
type Preview struct {
	// Text is the plan as Terraform prints it, without secrets.
	Text string
	// Change is the digest of what changes, and Plan counts it.
	Change string
	Plan   Changes
	// Harm lists what the plan would delete, replace or shrink. Refusal wraps ErrFoundationChanges when Foundation
	// refuses the plan because of it, and is nil when Foundation.Replace allows it.
	Harm    []string
	Refusal error
}

// PreviewFoundation plans what Foundation would do, and changes nothing: neither Azure nor a state, whose lock it
// leaves to others. workspaces is the Config.Dir of the daemon with the foundation; m has another one, for this alone.
func (m *Manager) PreviewFoundation(ctx context.Context, workspaces string, f Foundation) (p Preview, err error) {
	dir := m.foundation()
	if err := m.renderFoundation(dir, f); err != nil {
		return p, err
	}
	if !m.cfg.Backend.Remote() {
		content, err := os.ReadFile(filepath.Join(workspaces, filepath.Base(dir), stateFile))
		if err == nil {
			err = writeFile(filepath.Join(dir, stateFile), content)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("read the state of what containers share: %w", err)
		}
	}
	s := m.newSession(dir)
	defer s.end()
	s.unlocked, s.folder = true, operationFolder(1, applying)
	if err := os.MkdirAll(filepath.Join(dir, s.folder), 0o700); err != nil {
		return p, fmt.Errorf("keep operation: %w", err)
	}
	if _, err := m.followState(ctx, s, f); err != nil {
		return p, err
	}
	known, err := m.knownState(ctx, s, "")
	if err != nil {
		return p, err
	}
	left, err := m.missing(ctx, known, m.ofFoundation(f))
	if err != nil {
		return p, err
	}
	if len(left) > 0 {
		if err := writeImports(dir, left); err != nil {
			return p, fmt.Errorf("render imports: %w", err)
		}
		for _, r := range left {
			s.importing = append(s.importing, r.Address)
		}
	}
	if _, err := m.plan(ctx, applying, s); err != nil {
		return p, err
	}
	path := filepath.Join(s.folder, planFile)
	var plan *tfjson.Plan
	err = m.command(ctx, s, "show", func(tf *tfexec.Terraform) error {
		if plan, err = tf.ShowPlanFile(ctx, path, s.attach()); err != nil {
			return err
		}
		p.Text, err = tf.ShowPlanFileRaw(ctx, path, s.attach())
		return err
	})
	if err != nil {
		return p, err
	}
	p.Text, p.Plan, p.Harm = s.secrets.text(p.Text), count(plan), harm(plan, f.AdoptedServicePlan)
	given, err := readAllowance(filepath.Join(workspaces, filepath.Base(dir)))
	if err != nil {
		return p, err
	}
	p.Refusal = given.refusal(p.Harm, f.Replace)
	p.Change, err = changeDigest(plan, m.cfg.DigestKey)
	return p, err
}
