package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
)

// kind of a run, and the prefix of its files.
type kind string

const (
	applying   kind = "apply"
	destroying kind = "destroy"
)

// Operation is the verdict of one Terraform run. It is kept in the workspace as apply.operation.json or destroy.operation.json.
type Operation struct {
	// CorrelationID is sent with each of the run's Azure calls and names the run in Azure's Activity Log.
	CorrelationID string    `json:"correlation_id"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished,omitzero"`
	Plan          Changes   `json:"plan"`
	// Error is empty when the run succeeded.
	Error string `json:"error,omitempty"`
	// StateWritten tells that there was a state when the run had finished.
	StateWritten bool `json:"state_written"`
	applied      bool
}

// leftState tells whether this run ended with a state, so that there must be one.
func (r *Operation) leftState() bool {
	return r != nil && !r.Finished.IsZero() && (r.Error == "" || r.StateWritten)
}

// mayHaveLeft tells whether Azure may hold something of this run that no state knows: it was killed, interrupted, or failed.
func (r *Operation) mayHaveLeft() bool { return r != nil && (r.Finished.IsZero() || r.Error != "") }

// Changes counts the changes of a plan.
type Changes struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
}

// String is the summary in Terraform's words.
func (s Changes) String() string {
	return fmt.Sprintf("%d to add, %d to change, %d to destroy", s.Add, s.Change, s.Destroy)
}

// TerraformError is a Terraform command that failed.
type TerraformError struct {
	Step          string // init, plan, show, apply, output
	Dir           string
	CorrelationID string
	// Diagnostics are Terraform's errors: summary, and detail after a colon.
	Diagnostics []string
	Err         error
}

// Error is the diagnostics, or the command's own error when there are none.
func (e *TerraformError) Error() string {
	what := strings.Join(e.Diagnostics, "; ")
	if what == "" {
		what = e.Err.Error()
	}
	return fmt.Sprintf("terraform %s in %s failed: %s", e.Step, e.Dir, what)
}

// said is all that a command has said of its failure, in its JSON lines and on stderr.
func (e *TerraformError) said() string { return e.Error() + "\n" + e.Err.Error() }

// Unwrap returns the command's error; it is the context's when the run was interrupted.
func (e *TerraformError) Unwrap() error { return e.Err }

// run initialises the workspace if needed, plans, keeps the plan and its redacted JSON, and applies exactly that plan.
func (m *Manager) run(ctx context.Context, dir string, k kind, s *session) (run Operation, err error) {
	run = Operation{CorrelationID: s.correlation, Started: m.cfg.Now().UTC()}
	log := m.cfg.Log.With().Str("workspace", dir).Str("run", string(k)).Str("correlation_id", run.CorrelationID).Logger()
	defer func() {
		run.Finished = m.cfg.Now().UTC()
		if err != nil {
			run.Error = err.Error()
		}
		written, secureErr := secureState(dir)
		run.StateWritten = written || m.cfg.Backend.Remote() && err == nil
		err = errors.Join(err, secureErr)
		// A run that ended before its apply has made nothing: the verdict of an earlier apply stays.
		if run.applied {
			err = errors.Join(err, writeVerdict(dir, k, run))
		}
	}()
	planFile := string(k) + ".tfplan"
	var changes bool
	err = m.initialised(ctx, dir, s, func() error {
		changes, err = m.plan(ctx, dir, k, planFile, s)
		return err
	})
	if err != nil {
		return run, err
	}
	run.Plan, err = m.show(ctx, dir, k, planFile, s)
	if err != nil {
		return run, err
	}
	log.Info().Stringer("plan", run.Plan).Msg("planned")
	// A destroy that has nothing left to do in Azure still has to take it out of the state.
	if !changes && k != destroying {
		return run, nil
	}
	if m.cfg.BeforeApply != nil {
		applied, err := m.cfg.BeforeApply(ctx, run.Plan)
		if err != nil {
			return run, fmt.Errorf("wait to apply: %w", err)
		}
		defer applied()
	}
	// Written before anything can be made, so that a killed apply is known as one that has no verdict.
	if err := writeVerdict(dir, k, run); err != nil {
		return run, err
	}
	run.applied = true
	err = m.logged(ctx, dir, "apply", string(k)+".jsonl", s, func(tf *tfexec.Terraform, w io.Writer) error {
		return tf.ApplyJSON(ctx, w, tfexec.DirOrPlan(planFile), s.attach(), m.lockTimeout())
	})
	if err != nil {
		return run, err
	}
	log.Info().Stringer("plan", run.Plan).Msg("applied")
	return run, nil
}

// secureState gives the state files, which terraform makes with the umask's mode, the mode of the others, and tells whether there is a state.
func secureState(dir string) (written bool, err error) {
	for _, name := range []string{backupFile, stateFile} {
		chmodErr := os.Chmod(filepath.Join(dir, name), 0o600)
		written = chmodErr == nil
		if chmodErr != nil && !errors.Is(chmodErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("secure state: %w", chmodErr))
		}
	}
	return written, err
}

func (m *Manager) plan(ctx context.Context, dir string, k kind, planFile string, s *session) (changes bool, err error) {
	opts := []tfexec.PlanOption{tfexec.Out(planFile), tfexec.Destroy(k == destroying), s.attach(), m.lockTimeout()}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); errors.Is(err, fs.ErrNotExist) && !m.cfg.Backend.Remote() {
		opts = append(opts, tfexec.Refresh(false)) // nothing to refresh
	}
	err = m.logged(ctx, dir, "plan", string(k)+".plan.jsonl", s, func(tf *tfexec.Terraform, w io.Writer) error {
		changes, err = tf.PlanJSON(ctx, w, opts...)
		return err
	})
	if err != nil {
		return false, err
	}
	// terraform makes plan files with the umask's mode.
	return changes, os.Chmod(filepath.Join(dir, planFile), 0o600)
}

// show keeps the plan as redacted JSON and sums it up.
func (m *Manager) show(ctx context.Context, dir string, k kind, planFile string, s *session) (Changes, error) {
	tf, err := m.terraform(dir, s)
	if err != nil {
		return Changes{}, err
	}
	plan, err := tf.ShowPlanFile(ctx, planFile, s.attach())
	if err != nil {
		return Changes{}, &TerraformError{Step: "show", Dir: dir, CorrelationID: s.correlation, Err: err}
	}
	content, err := json.MarshalIndent(redact(plan), "", "  ")
	if err != nil {
		return Changes{}, fmt.Errorf("encode plan: %w", err)
	}
	if err := writeFile(filepath.Join(dir, string(k)+".plan.json"), content); err != nil {
		return Changes{}, fmt.Errorf("keep plan: %w", err)
	}
	return summarize(plan), nil
}

func summarize(plan *tfjson.Plan) (s Changes) {
	for _, rc := range plan.ResourceChanges {
		if rc.Change == nil {
			continue
		}
		for _, action := range rc.Change.Actions {
			switch action {
			case tfjson.ActionCreate:
				s.Add++
			case tfjson.ActionUpdate:
				s.Change++
			case tfjson.ActionDelete:
				s.Destroy++
			}
		}
	}
	return s
}

// logged runs one command with its JSON output kept in a file, and reads the errors from there when it fails.
func (m *Manager) logged(ctx context.Context, dir, step, file string, s *session, command func(*tfexec.Terraform, io.Writer) error) (err error) {
	tf, err := m.terraform(dir, s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := command(tf, f); err != nil {
		diagnostics, readErr := readErrors(f)
		return errors.Join(&TerraformError{Step: step, Dir: dir, CorrelationID: s.correlation, Diagnostics: diagnostics, Err: err}, readErr)
	}
	return nil
}

// terraform is the value that a session's commands share, one after another: it asks the binary for its version once. Its JSON variants
// change where output goes, so each command begins anew.
func (m *Manager) terraform(dir string, s *session) (*tfexec.Terraform, error) {
	if s.tf != nil {
		s.tf.SetStdout(io.Discard)
		return s.tf, nil
	}
	tf, err := tfexec.NewTerraform(dir, m.cfg.Terraform)
	if err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	env := maps.Clone(m.env)
	env["ARM_CORRELATION_REQUEST_ID"] = s.correlation
	if s.eager {
		env[pollEagerly] = "true"
	}
	if s.lease != nil {
		env["GOGC"] = "400" // a command ends before its garbage is worth a quarter of its time
	}
	if err := tf.SetEnv(env); err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	if err := tf.SetWaitDelay(m.cfg.InterruptWait); err != nil {
		return nil, fmt.Errorf("prepare terraform: %w", err)
	}
	s.tf = tf
	return tf, nil
}

func writeVerdict(dir string, k kind, run Operation) error {
	content, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return fmt.Errorf("keep verdict: %w", err)
	}
	if err := writeFile(filepath.Join(dir, string(k)+".operation.json"), content); err != nil {
		return fmt.Errorf("keep verdict: %w", err)
	}
	return nil
}

// lastOperation is the verdict that the last apply or destroy left, nil when none was begun.
func lastOperation(dir string, k kind) (*Operation, error) {
	content, err := os.ReadFile(filepath.Join(dir, string(k)+".operation.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	var run Operation
	if err := json.Unmarshal(content, &run); err != nil {
		return nil, fmt.Errorf("read verdict in %s: %w", dir, err)
	}
	return &run, nil
}
