// Package auditor reads the audit trail of a daemon for people: it verifies, shows, exports and reports. It changes
// nothing, and needs no running daemon.
package auditor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// Trail is the audit trail of a daemon, and its state folder.
type Trail struct {
	DB *store.DB
	// StateDir is the daemon's state folder; "" when only the database is here.
	StateDir string
	// Checkpoint is the path of the newest checkpoint in it.
	Checkpoint string
}

// readStep is the number of records that are read at a time.
const readStep = 1000

// each calls f with each record that q selects, until f returns an error.
func (t Trail) each(ctx context.Context, q store.AuditQuery, f func(line audit.Line, r audit.Record) error) error {
	q.Limit = readStep
	for {
		lines, err := t.DB.Audit(ctx, q)
		if err != nil || len(lines) == 0 {
			return err
		}
		for _, line := range lines {
			r, err := audit.Decode(line.Line)
			if err != nil {
				return &audit.AlteredError{Record: line.Seq, What: "it cannot be read"}
			}
			if err := f(line, r); err != nil {
				return err
			}
			q.After = line.Seq
		}
	}
}

// Checkpoints reads signed checkpoints from files. Without a file, it reads the newest one of the state folder, if
// there is one. keys are files with public keys; without any, the key of the state folder counts.
func (t Trail) Checkpoints(files, keys []string) (all []audit.Checkpoint, err error) {
	if len(keys) == 0 && t.StateDir != "" {
		keys = []string{audit.PublicKeyPath(t.StateDir)}
	}
	if len(files) == 0 {
		if _, err := os.Stat(t.Checkpoint); errors.Is(err, fs.ErrNotExist) || t.Checkpoint == "" {
			return nil, nil
		}
		files = []string{t.Checkpoint}
	}
	var public []string
	for _, path := range keys {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a public key: %w", err)
		}
		public = append(public, strings.TrimSpace(string(content)))
	}
	for _, path := range files {
		signed, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a checkpoint: %w", err)
		}
		c, err := audit.OpenCheckpoint(signed, public...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// Verified is what a verification has seen.
type Verified struct {
	Log string
	// First and Last are the numbers of the records that were compared; Last is one less than First if there were none.
	First, Last int64
	// Files is the number of files of operations that were compared, and Elsewhere of the operations whose files are in
	// the state folders of other daemons.
	Files, Elsewhere int
	// Open are the numbers of the records of operations that have begun and not ended.
	Open []int64
}

// Verify compares the database with itself and with checkpoints, and with files the files of the operations in the
// state folder with their digests. The error is an *audit.AlteredError or an *audit.IncompleteError when the trail is
// not whole.
func (t Trail) Verify(ctx context.Context, checkpoints []audit.Checkpoint, withFiles bool) (v Verified, err error) {
	head, err := t.DB.AuditHead(ctx)
	if err != nil {
		return v, err
	}
	v.Log, v.First = head.Log, head.First
	f := &files{missing: map[string]int64{}}
	if withFiles && t.StateDir != "" {
		home, err := os.ReadFile(filepath.Join(t.StateDir, "daemon.id"))
		if err != nil {
			return v, fmt.Errorf("read the id of the state folder: %w", err)
		}
		f.root, f.home = filepath.Join(t.StateDir, "workspaces"), string(home)
	}
	check, err := t.DB.VerifyTrail(ctx, checkpoints, f.compare)
	if check != nil {
		v.Last, v.Open = check.Size(), check.Open()
	}
	v.Files, v.Elsewhere = f.compared, f.elsewhere
	if err == nil {
		err = f.finish()
	}
	return v, err
}

// header is the first line of an export: the tree before its first record.
type header struct {
	Export int         `json:"export"` // the version of the form
	Log    string      `json:"log"`
	First  int64       `json:"first"`
	Edge   []edgeEntry `json:"edge"`
}

type edgeEntry struct {
	Index int64      `json:"index"`
	Hash  audit.Hash `json:"hash"`
}

// exportVersion is the version of the form of exports.
const exportVersion = 1

// VerifyExport compares an export in JSON lines with itself and with checkpoints.
func VerifyExport(r io.Reader, checkpoints []audit.Checkpoint) (v Verified, err error) {
	lines := newLines(r)
	first, err := lines.next()
	if err != nil {
		return v, fmt.Errorf("read the export: %w", err)
	}
	var h header
	if err := json.Unmarshal(first, &h); err != nil || h.Export != exportVersion {
		return v, errors.New("this is not an export in JSON lines of this version: its first line lacks \"export\":1")
	}
	v.Log, v.First = h.Log, h.First
	edge := audit.Edge{Size: h.First - 1, Hashes: map[int64]audit.Hash{}}
	for _, e := range h.Edge {
		edge.Hashes[e.Index] = e.Hash
	}
	check, err := audit.NewCheck(h.Log, edge, checkpoints...)
	if err != nil {
		return v, err
	}
	for {
		line, err := lines.next()
		v.Last, v.Open = check.Size(), check.Open()
		if errors.Is(err, io.EOF) {
			return v, check.Finish(false)
		}
		if err != nil {
			return v, fmt.Errorf("read the export: %w", err)
		}
		if _, _, err := check.Record(line); err != nil {
			return v, err
		}
	}
}
