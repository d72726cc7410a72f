package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	imageFile   = "image.json"   // see FunctionApp.DerivedImage
	contextFile = "context.json" // see Step.Keep
	verdict     = "operation.json"
)

func operationFolder(number int, k kind) string {
	return filepath.Join(operationsDir, fmt.Sprintf("%04d-%s", number, k))
}

var folderForm = regexp.MustCompile(`^(\d{4,})-(?:apply|import|destroy)$`)

// operationFolders returns the folders of a workspace's operations by their numbers, and the highest number, 0 when
// there is none.
func operationFolders(dir string) (folders map[int]string, last int, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, operationsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("list operations: %w", err)
	}
	folders = map[int]string{}
	for _, entry := range entries {
		if form := folderForm.FindStringSubmatch(entry.Name()); form != nil {
			if n, err := strconv.Atoi(form[1]); err == nil {
				folders[n], last = filepath.Join(dir, operationsDir, entry.Name()), max(last, n)
			}
		}
	}
	return folders, last, nil
}

// nextNumber returns the number of the next operation in a workspace. A workspace goes on where the archived ones of
// the same id have ended.
func (m *Manager) nextNumber(dir string) (int, error) {
	_, last, err := operationFolders(dir)
	if err != nil || last > 0 || dir == m.foundation() {
		return last + 1, err
	}
	archived, _ := m.archived(filepath.Base(dir))
	for _, dir := range archived {
		_, n, err := operationFolders(dir)
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

// earlierVerdicts are those of releases that kept the last operation of each kind in the workspace's folder, and only
// if its apply was begun.
const earlierVerdicts = "*.operation.json"

// newestOperation returns the verdict of the last operation whose apply was begun, nil when none was.
func newestOperation(dir string) (*Operation, error) {
	return newestVerdict(dir, func(op *Operation) bool { return op.Applied })
}

// newestVerdict returns the last verdict that accept accepts, nil when there is none. Numbers decide which one is the
// last: the clock may have been set back. Those of earlier releases have no number, and all count.
func newestVerdict(dir string, accept func(*Operation) bool) (newest *Operation, err error) {
	folders, _, err := operationFolders(dir)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.SortedFunc(maps.Keys(folders), func(a, b int) int { return b - a }) {
		op, err := readVerdict(filepath.Join(folders[n], verdict))
		if err != nil {
			return nil, err
		}
		if op != nil && accept(op) {
			op.Number = n // of a damaged one, too
			return op, nil
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, earlierVerdicts))
	if err != nil {
		return nil, fmt.Errorf("read verdicts: %w", err)
	}
	for _, path := range paths {
		op, err := readVerdict(path)
		if err != nil {
			return nil, err
		}
		if op != nil && (newest == nil || op.Started.After(newest.Started)) {
			newest = op
		}
	}
	return newest, nil
}
