package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
)

// kind of an operation.
type kind string

const (
	applying   kind = "apply"
	importing  kind = "import"
	destroying kind = "destroy"
)

// Steps of a TerraformError. Only apply changes Azure.
const (
	stepPlan  = "plan"
	stepApply = "apply"
)

// Operation is the verdict of one Terraform operation. The workspace keeps it as operation.json in the operation's
// folder.
type Operation struct {
	// Number counts the operations of a workspace, of all kinds, from 1.
	Number int    `json:"number"`
	Kind   string `json:"kind"` // apply, import or destroy
	// CorrelationID is sent with each of the operation's Azure calls and names the operation in Azure's Activity Log.
	CorrelationID string    `json:"correlation_id"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished,omitzero"`
	Plan          Changes   `json:"plan"`
	// Applied reports that the apply of the plan was begun. Without it, the operation has changed nothing in Azure.
	Applied bool `json:"applied"`
	// Error is empty when the operation succeeded.
	Error string `json:"error,omitempty"`
	// Lineage and Serial are those of the local state when the operation had finished. Lineage is empty when there was
	// none, or when the backend is remote.
	Lineage string `json:"lineage,omitempty"`
	Serial  uint64 `json:"serial,omitempty"`
}

// Changes counts the changes of a plan.
type Changes struct {
	Import  int `json:"import"`
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
}

// String returns the changes as Terraform words them.
func (c Changes) String() string {
	summary := fmt.Sprintf("%d to add, %d to change, %d to destroy", c.Add, c.Change, c.Destroy)
	if c.Import > 0 {
		summary = fmt.Sprintf("%d to import, ", c.Import) + summary
	}
	return summary
}

// TerraformError is the failure of a Terraform command.
type TerraformError struct {
	Step          string // init, plan, show, apply, state pull, ...
	Dir           string
	CorrelationID string
	// Diagnostics are Terraform's errors: summary, and detail after a colon. The output of a crash comes first.
	Diagnostics []string
	Err         error
}

// Error returns the diagnostics, or the command's own error when there are none.
func (e *TerraformError) Error() string {
	what := strings.Join(e.Diagnostics, "; ")
	if what == "" {
		what = e.Err.Error()
	}
	return fmt.Sprintf("terraform %s in %s failed: %s", e.Step, e.Dir, what)
}

// output returns everything that the command has printed about its failure, in its JSON lines and on stderr.
func (e *TerraformError) output() string { return e.Error() + "\n" + e.Err.Error() }

// Unwrap returns the command's error. It is the context's when the operation was interrupted.
func (e *TerraformError) Unwrap() error { return e.Err }

// operate plans, keeps the plan and its masked JSON, and applies exactly that plan. Every operation has a folder of its
// own, and every apply a correlation id.
func (m *Manager) operate(ctx context.Context, k kind, s *session) (op Operation, err error) {
	if err := m.renew(ctx, s); err != nil {
		return op, err
	}
	number, err := m.nextNumber(s.dir)
	if err != nil {
		return op, err
	}
	s.folder = operationFolder(number, k)
	if err := os.MkdirAll(filepath.Join(s.dir, s.folder), 0o700); err != nil {
		return op, fmt.Errorf("keep operation: %w", err)
	}
	if s.derivedImage != nil {
		if err := writeJSON(filepath.Join(s.dir, s.folder, imageFile), s.derivedImage); err != nil {
			return op, fmt.Errorf("keep operation: %w", err)
		}
	}
	op = Operation{Number: number, Kind: string(k), CorrelationID: s.correlation, Started: m.cfg.Now().UTC()}
	t := &trace{
		workspace: m.nameOf(s.dir), folder: filepath.Join(s.dir, s.folder), secrets: s.secrets, record: m.cfg.Record,
	}
	err = errors.Join(m.carryOut(ctx, k, s, &op, t), secureState(s.dir))
	op.Finished = m.cfg.Now().UTC()
	if err != nil {
		op.Error = s.secrets.text(err.Error())
	}
	if known, readErr := readState(s.dir); readErr == nil && !m.cfg.Backend.Remote() {
		op.Lineage, op.Serial = known.Lineage, known.Serial
	}
	err = errors.Join(err, writeVerdict(t.folder, op))
	// An operation that was interrupted has ended all the same.
	return op, errors.Join(err, t.step(context.WithoutCancel(ctx), Ended, op))
}

// carryOut makes the plan of an operation, and applies it unless there is nothing to do.
func (m *Manager) carryOut(ctx context.Context, k kind, s *session, op *Operation, t *trace) error {
	log := m.cfg.Log.With().Str("workspace", s.dir).Str("operation", string(k)).
		Str("correlation_id", op.CorrelationID).Logger()
	changes, err := m.plan(ctx, k, s)
	if err != nil {
		return err
	}
	plan, err := m.show(ctx, s, t)
	if err != nil {
		return err
	}
	op.Plan = count(plan)
	log.Info().Stringer("plan", op.Plan).Msg("planned")
	refused := s.mayApply(k, plan, t.change)
	// A destroy that has nothing left to do in Azure still has to take it out of the state.
	t.applies = refused == nil && (changes || k == destroying)
	if err := t.step(ctx, Planned, *op); err != nil {
		return err
	}
	if refused != nil {
		return fmt.Errorf("workspace %s: %w", s.dir, refused)
	}
	if !t.applies {
		return nil
	}
	if m.cfg.BeforeApply != nil {
		applied, err := m.cfg.BeforeApply(ctx, op.Plan)
		if err != nil {
			return fmt.Errorf("wait to apply: %w", err)
		}
		defer applied()
	}
	begun := *op
	begun.Applied = true
	if err := t.step(ctx, Applying, begun); err != nil {
		return err
	}
	op.Applied, s.spent = true, true
	// Written before anything can be created, so that the verdict of a killed apply is one without an end.
	if err := writeVerdict(t.folder, *op); err != nil {
		return err
	}
	err = m.logged(ctx, s, stepApply, applyOutput, func(tf *tfexec.Terraform, w io.Writer) error {
		return tf.ApplyJSON(ctx, w, tfexec.DirOrPlan(filepath.Join(s.folder, planFile)), s.attach(), m.lockTimeout())
	})
	if err != nil {
		return err
	}
	log.Info().Stringer("plan", op.Plan).Msg("applied")
	return nil
}

// mayApply returns why a plan of an operation must not be applied, or nil.
func (s *session) mayApply(k kind, plan *tfjson.Plan, change string) error {
	if k == importing {
		if err := onlyImports(plan); err != nil {
			return err
		}
	}
	if s.review == nil {
		return nil
	}
	return s.review(plan, change)
}

// secureState gives the state files, which terraform creates with the umask's mode, the mode of the others.
func secureState(dir string) (err error) {
	for _, name := range []string{backupFile, stateFile} {
		chmodErr := os.Chmod(filepath.Join(dir, name), 0o600)
		if chmodErr != nil && !errors.Is(chmodErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("secure state: %w", chmodErr))
		}
	}
	return err
}

func (m *Manager) plan(ctx context.Context, k kind, s *session) (changes bool, err error) {
	path := filepath.Join(s.folder, planFile)
	opts := []tfexec.PlanOption{tfexec.Out(path), tfexec.Destroy(k == destroying), s.attach(), m.lockTimeout()}
	if s.unlocked {
		opts = append(opts, tfexec.Lock(false))
	}
	_, err = os.Stat(filepath.Join(s.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) && !m.cfg.Backend.Remote() && len(s.importing) == 0 {
		opts = append(opts, tfexec.Refresh(false)) // nothing to refresh
	} else if s.stateOnly && k == destroying {
		opts = append(opts, tfexec.Refresh(false))
	}
	err = m.logged(ctx, s, stepPlan, planOutput, func(tf *tfexec.Terraform, w io.Writer) error {
		changes, err = tf.PlanJSON(ctx, w, opts...)
		return err
	})
	if err != nil {
		return false, err
	}
	// terraform creates plan files with the umask's mode.
	return changes, os.Chmod(filepath.Join(s.dir, path), 0o600)
}

// show keeps the plan as masked JSON and returns it.
func (m *Manager) show(ctx context.Context, s *session, t *trace) (plan *tfjson.Plan, err error) {
	err = m.command(ctx, s, "show", func(tf *tfexec.Terraform) error {
		plan, err = tf.ShowPlanFile(ctx, filepath.Join(s.folder, planFile), s.attach())
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.change, err = changeDigest(plan, m.cfg.DigestKey); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	content, err := masked(plan, s.secrets)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	if err := writeFile(filepath.Join(t.folder, maskedPlan), content); err != nil {
		return nil, fmt.Errorf("keep plan: %w", err)
	}
	t.masked = content
	return plan, nil
}

func count(plan *tfjson.Plan) (c Changes) {
	for _, rc := range plan.ResourceChanges {
		if rc.Change == nil {
			continue
		}
		if rc.Change.Importing != nil {
			c.Import++
		}
		for _, action := range rc.Change.Actions {
			switch action {
			case tfjson.ActionCreate:
				c.Add++
			case tfjson.ActionUpdate:
				c.Change++
			case tfjson.ActionDelete:
				c.Destroy++
			}
		}
	}
	return c
}

// logged runs one command, keeps its JSON output in a file of the operation, and reads the errors from there when the
// command fails.
func (m *Manager) logged(
	ctx context.Context, s *session, step, file string, command func(*tfexec.Terraform, io.Writer) error,
) (err error) {
	tf, err := m.readyTerraform(ctx, s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, s.folder, file), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := &maskingWriter{to: f, secrets: s.secrets}
	err = command(tf, w)
	writeErr := w.flush()
	if err == nil {
		return writeErr
	}
	diagnostics, readErr := readErrors(f)
	err = s.secrets.err(err)
	if crash := crashIn(err.Error()); crash != "" {
		diagnostics = append([]string{crash}, diagnostics...)
	}
	failed := &TerraformError{
		Step: step, Dir: s.dir, CorrelationID: s.correlation, Diagnostics: diagnostics, Err: err,
	}
	return errors.Join(failed, writeErr, readErr)
}
