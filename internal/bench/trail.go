package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// recordsOfACreate is the number of records that one create writes: request, plan, begin and end of the apply, created.
const recordsOfACreate = 5

// Trail is what the audit trail costs.
type Trail struct {
	// Create is the time in which the records of one create are written, each in a transaction of its own.
	Create time.Duration `json:"create_ns"`
	// Verify is the time in which Records records are verified.
	Records int           `json:"records"`
	Verify  time.Duration `json:"verify_ns"`
}

// trail measures the audit trail in a database of its own, on the disk of the daemons' databases.
func (b *bench) trail(ctx context.Context) (err error) {
	if b.TrailRecords == 0 {
		return nil
	}
	t := &b.report.Trail
	db, err := store.Open(ctx, store.Config{Path: filepath.Join(b.Dir, "trail.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	record := audit.Record{
		Action: audit.ActionPlan, Container: &audit.Container{ID: fmt.Sprintf("%064d", 0), Name: "bench"},
		Operation: &audit.Operation{
			Workspace: fmt.Sprintf("%064d", 0), Number: 1, Kind: "apply", CorrelationID: fmt.Sprintf("%036d", 0),
			Files: map[string]string{
				"plan.json": fmt.Sprintf("%064d", 1), "plan.jsonl": fmt.Sprintf("%064d", 2), "apply.jsonl": fmt.Sprintf("%064d", 3),
			},
		},
	}
	started := time.Now()
	for range b.TrailRecords {
		if err := db.Record(ctx, record); err != nil {
			return err
		}
	}
	t.Records, t.Create = b.TrailRecords, recordsOfACreate*time.Since(started)/time.Duration(b.TrailRecords)
	started = time.Now()
	_, err = db.VerifyTrail(ctx, nil, func(audit.Record) error { return nil })
	t.Verify = time.Since(started)
	return err
}
