package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// operationsDir holds a folder for each operation of a workspace: NUMBER-KIND.
const operationsDir = "operations"

// Files in the folder of an operation. An operation that ended early has fewer.
const (
	planFile    = "plan.tfplan"
	maskedPlan  = "plan.json"
	planOutput  = "plan.jsonl"
	applyOutput = "apply.jsonl"
	verdict     = "operation.json"
)

func operationFolder(number int, k kind) string {
	return filepath.Join(operationsDir, fmt.Sprintf("%04d-%s", number, k))
}

var folderForm = regexp.MustCompile(`^(\d{4,})-(?:apply|import|destroy)$`)

// lastNumber returns the highest number of an operation in a workspace, 0 when it had none.
func lastNumber(dir string) (last int, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, operationsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("list operations: %w", err)
	}
	for _, entry := range entries {
		if form := folderForm.FindStringSubmatch(entry.Name()); form != nil {
			if n, err := strconv.Atoi(form[1]); err == nil {
				last = max(last, n)
			}
		}
	}
	return last, nil
}

// nextNumber returns the number of the next operation in a workspace. A workspace goes on where the archived ones of
// the same container have ended.
func (m *Manager) nextNumber(dir string) (int, error) {
	last, err := lastNumber(dir)
	if err != nil || last > 0 || dir == m.foundation() {
		return last + 1, err
	}
	for archived := range m.archived(filepath.Base(dir)) {
		n, err := lastNumber(archived)
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last + 1, nil
}

func writeVerdict(folder string, op Operation) error {
	content, err := json.MarshalIndent(op, "", "  ")
	if err != nil {
		return fmt.Errorf("keep verdict: %w", err)
	}
	if err := writeFile(filepath.Join(folder, verdict), content); err != nil {
		return fmt.Errorf("keep verdict: %w", err)
	}
	return nil
}

// readVerdict returns the verdict in a file, nil when there is none. A damaged verdict is that of an operation of which
// nothing is known but its begin.
func readVerdict(path string) (*Operation, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	var op Operation
	if err := json.Unmarshal(content, &op); err != nil {
		return &Operation{Applied: true}, nil
	}
	return &op, nil
}

// appliedOperations returns the verdicts of the operations whose apply was begun, in the order of their files.
func appliedOperations(dir string) (ops []*Operation, err error) {
	for _, pattern := range []string{earlierVerdicts, filepath.Join(operationsDir, "*", verdict)} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("read verdicts: %w", err)
		}
		for _, path := range paths {
			op, err := readVerdict(path)
			if err != nil {
				return nil, err
			}
			if op != nil && (op.Applied || pattern == earlierVerdicts) {
				ops = append(ops, op)
			}
		}
	}
	return ops, nil
}

// earlierVerdicts are those of releases that kept the last operation of each kind in the workspace's folder, and only
// if its apply was begun.
const earlierVerdicts = "*.operation.json"

// newestOperation returns the verdict of the last operation whose apply was begun, nil when none was.
func newestOperation(dir string) (newest *Operation, err error) {
	ops, err := appliedOperations(dir)
	if err != nil {
		return nil, err
	}
	for _, op := range ops {
		if newest == nil || op.Started.After(newest.Started) {
			newest = op
		}
	}
	return newest, nil
}
