package workspace

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"
)

// Stage is how far an operation is.
type Stage string

// Stages of an operation.
const (
	// Planned: there is a plan. It may be refused, or have nothing to do.
	Planned Stage = "planned"
	// Applying: the apply of the plan begins. Nothing has changed in Azure so far.
	Applying Stage = "applying"
	// Ended: the operation is over, whether it succeeded, failed or was interrupted. A killed daemon records no end.
	Ended Stage = "ended"
)

// Step is one step of an operation, for the audit trail.
type Step struct {
	Workspace string // its name, see KindOf
	Stage     Stage
	Operation Operation
	// Files are the SHA-256 digests, in hex, of those files of the operation that are complete, stay in the archive and
	// hold no secret.
	Files map[string]string
	// PlanSHA256 is the digest of the plan file, which holds secrets. Change is a digest of what the plan changes: it is
	// the same for two plans that change the same, and needs Config.DigestKey. Both are empty as long as there is no plan.
	PlanSHA256, Change string
	// Applies reports, of Planned, whether the plan is applied unless somebody refuses it. Masked is the plan as JSON
	// without secrets.
	Applies bool
	Masked  []byte
	// Keep keeps who asks for the plan among the files of the operation, as JSON, which it returns. Hide masks the
	// secrets of the operation in a text.
	Keep func(about any) ([]byte, error)
	Hide func(text string) string
}

// trace records the steps of one operation.
type trace struct {
	workspace, folder string
	change            string
	applies           bool
	masked            []byte // the plan
	secrets           *secrets
	record            func(context.Context, Step) error // nil: nothing is recorded
}

func (t *trace) step(ctx context.Context, stage Stage, op Operation) error {
	if t.record == nil {
		return nil
	}
	step := Step{Workspace: t.workspace, Stage: stage, Operation: op, Change: t.change, Files: map[string]string{}}
	if stage == Planned {
		step.Applies, step.Masked, step.Keep, step.Hide = t.applies, t.masked, t.keep(step.Files), t.hide
	}
	for _, name := range []string{maskedPlan, planOutput, applyOutput, imageFile, contextFile} {
		sum, err := FileDigest(filepath.Join(t.folder, name))
		if err != nil {
			return err
		}
		if sum != "" {
			step.Files[name] = sum
		}
	}
	var err error
	if step.PlanSHA256, err = FileDigest(filepath.Join(t.folder, planFile)); err != nil {
		return err
	}
	return t.record(ctx, step)
}

func (t *trace) hide(text string) string { return fmt.Sprint(t.secrets.document(text)) }

// keep returns the function Step.Keep. It adds the file's digest to digests.
func (t *trace) keep(digests map[string]string) func(any) ([]byte, error) {
	return func(about any) ([]byte, error) {
		content, err := json.MarshalIndent(about, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("keep the context of a plan: %w", err)
		}
		if err := writeFile(filepath.Join(t.folder, contextFile), content); err != nil {
			return nil, fmt.Errorf("keep the context of a plan: %w", err)
		}
		sum := sha256.Sum256(content)
		digests[contextFile] = hex.EncodeToString(sum[:])
		return content, nil
	}
}

// FileDigest returns the SHA-256 digest of a file in hex, "" when there is none.
func FileDigest(path string) (sum string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// changeDigest returns a digest of what a plan changes. It depends on secret values, so that it needs a key: without
// one, short secrets could be guessed.
func changeDigest(plan *tfjson.Plan, key []byte) (string, error) {
	type change struct {
		Address string         `json:"address"`
		Deposed string         `json:"deposed,omitempty"`
		Actions tfjson.Actions `json:"actions"`
		Import  string         `json:"import,omitempty"`
		Before  any            `json:"before"`
		After   any            `json:"after"`
		Unknown any            `json:"unknown"`
	}
	var all []change
	for _, rc := range plan.ResourceChanges {
		if rc.Change == nil || rc.Change.Importing == nil && (rc.Change.Actions.NoOp() || rc.Change.Actions.Read()) {
			continue
		}
		c := change{
			Address: rc.Address, Deposed: rc.DeposedKey, Actions: rc.Change.Actions,
			Before: rc.Change.Before, After: rc.Change.After, Unknown: rc.Change.AfterUnknown,
		}
		if rc.Change.Importing != nil {
			c.Import = rc.Change.Importing.ID
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Deposed, b.Deposed))
	})
	content, err := json.Marshal(all) // sorts the keys of maps
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil)), nil
}
