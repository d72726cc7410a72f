package auditor

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/audit"
)

// files compares the files of operations with the digests in their records.
type files struct {
	root, home          string // root is "" when no files are compared
	compared, elsewhere int
	// missing are the folders that are not there, with the first record that names them, unless their removal is recorded.
	missing map[string]int64
}

// compare is called with each record, in order.
func (f *files) compare(r audit.Record) error {
	if f.root == "" {
		return nil
	}
	if r.Pruned != nil {
		for _, path := range r.Pruned.Workspaces {
			if id, ok := strings.CutPrefix(path, "archive/"); ok {
				id, _, _ = strings.Cut(id, "-") // the second archived workspace of the same id is ID-2
				path = "archive/" + id
				maps.DeleteFunc(f.missing, func(folder string, _ int64) bool {
					return strings.HasPrefix(folder, plans+id+"/")
				})
			}
			delete(f.missing, path)
		}
	}
	if r.Operation == nil || len(r.Operation.Files) == 0 {
		return nil
	}
	if r.Daemon.Home != f.home {
		f.elsewhere++
		return nil
	}
	for {
		folders, expected, err := f.folders(*r.Operation)
		if err != nil {
			return err
		}
		if len(folders) == 0 {
			if f.missing[expected] == 0 {
				f.missing[expected] = r.Seq
			}
			return nil
		}
		// An archived workspace of the same container may have an operation with the same number.
		moved := false
		for _, folder := range folders {
			if err = f.compareFolder(folder, r); err == nil {
				return nil
			}
			_, there := os.Stat(folder)
			moved = moved || errors.Is(there, fs.ErrNotExist)
		}
		if !moved { // otherwise it is in the archive meanwhile
			return err
		}
	}
}

// plans begins the names of the workspaces of service plans in records.
const plans = "plans/"

// folders returns where the files of an operation may be, and where they are expected when they are nowhere.
func (f *files) folders(op audit.Operation) (found []string, expected string, err error) {
	inside := ""
	if op.Number > 0 { // otherwise an earlier release has kept them in the workspace itself
		inside = filepath.Join("operations", fmt.Sprintf("%04d-%s", op.Number, op.Kind))
	}
	id, isPlan := strings.CutPrefix(op.Workspace, plans)
	parents := []string{"containers/" + id, "archive/" + id, "archive/" + id + "-*"}
	switch {
	case isPlan:
		parents[0] = op.Workspace
	case op.Workspace == "foundation":
		parents = []string{op.Workspace}
	}
	for _, parent := range parents {
		paths, err := filepath.Glob(filepath.Join(f.root, parent, inside))
		if err != nil {
			return nil, "", err
		}
		found = append(found, paths...)
	}
	if isPlan || op.Workspace == "foundation" { // single operations of these are removed, too
		return found, filepath.Join(op.Workspace, inside), nil
	}
	return found, filepath.Join("archive", op.Workspace), nil
}

func (f *files) compareFolder(folder string, r audit.Record) error {
	for name, sum := range r.Operation.Files {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			return &audit.AlteredError{Record: r.Seq, What: filepath.Join(folder, name) + " was removed"}
		}
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != sum {
			return &audit.AlteredError{Record: r.Seq, What: filepath.Join(folder, name) + " is not what was written"}
		}
		f.compared++
	}
	return nil
}

// finish returns an error for the first folder that is missing.
func (f *files) finish() error {
	type gap struct {
		folder string
		record int64
	}
	var gaps []gap
	for folder, record := range f.missing {
		gaps = append(gaps, gap{folder, record})
	}
	if len(gaps) == 0 {
		return nil
	}
	first := slices.MinFunc(gaps, func(a, b gap) int { return int(a.record - b.record) })
	return &audit.IncompleteError{Record: first.record, What: fmt.Sprintf("%s is missing, and no record says that it was "+
		"removed", filepath.Join(f.root, first.folder))}
}

// lines reads lines of any length.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) lines { return lines{bufio.NewReaderSize(r, 1<<20)} }

// next returns the next line without its end, io.EOF when there is none.
func (l lines) next() ([]byte, error) {
	line, err := l.r.ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return bytes.TrimSuffix(line, []byte("\n")), err
}
