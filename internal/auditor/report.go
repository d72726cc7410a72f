package auditor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// Period bounds the times of records: Since is the first moment, and Until the first one after it. Zero is no bound.
type Period struct{ Since, Until time.Time }

// ExportJSON writes the records of a period as JSON lines: the bytes that the tree has the hashes of. A first line lets
// VerifyExport begin with any record.
func (t Trail) ExportJSON(ctx context.Context, w io.Writer, p Period) error {
	first := true
	return t.each(ctx, store.AuditQuery{Since: p.Since, Until: p.Until}, func(l audit.Line, _ audit.Record) error {
		if first {
			first = false
			if err := t.writeHeader(ctx, w, l.Seq); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%s\n", l.Line)
		return err
	})
}

func (t Trail) writeHeader(ctx context.Context, w io.Writer, first int64) error {
	head, err := t.DB.AuditHead(ctx)
	if err != nil {
		return err
	}
	edge, err := t.DB.AuditEdge(ctx, first)
	if err != nil {
		return err
	}
	h := header{Export: exportVersion, Log: head.Log, First: first, Edge: []edgeEntry{}}
	for _, index := range audit.EdgeIndexes(edge.Size) {
		h.Edge = append(h.Edge, edgeEntry{index, edge.Hashes[index]})
	}
	return json.NewEncoder(w).Encode(h)
}

// columns are those of an export as CSV and of a report.
var columns = []string{
	"record", "time", "action", "requester", "request", "container", "name", "image", "changes", "verdict",
	"correlation_id", "outcome", "error",
}

// verdicts are what policies have said of plans, by the operations. The records of an apply and of its end follow that
// of the plan.
type verdicts map[string]string

// of returns what policies have said of a record, or of the plan that its operation applies.
func (v verdicts) of(r audit.Record) string {
	said := ""
	for _, one := range r.Policy {
		said += fmt.Sprintf(", %s by %s", one.Result, one.Set)
	}
	if said = strings.TrimPrefix(said, ", "); r.Override != nil && strings.Contains(said, api.PolicyOverridden) {
		said += fmt.Sprintf(" (%q)", r.Override.Reason)
	}
	if r.Operation == nil {
		return said
	}
	operation := fmt.Sprint(r.Operation.Workspace, " ", r.Operation.Number, " ", r.Daemon.Home)
	if said == "" {
		return v[operation]
	}
	v[operation] = said
	return said
}

// row returns the columns of a record.
func (v verdicts) row(r audit.Record) []string {
	values := map[string]string{
		"record": strconv.FormatInt(r.Seq, 10), "time": r.Time.Format(time.RFC3339), "action": what(r),
		"requester": r.Requester.String(), "verdict": v.of(r),
	}
	if r.Request != nil {
		values["request"] = r.Request.ID
	}
	if c := r.Container; c != nil {
		values["container"], values["name"], values["image"] = c.ID, c.Name, c.Image
	}
	if i := r.Image; i != nil {
		values["image"] = i.Name
	}
	if op := r.Operation; op != nil {
		values["correlation_id"] = op.CorrelationID
		values["changes"] = fmt.Sprintf("%d to import, %d to add, %d to change, %d to destroy", op.Imports, op.Adds,
			op.Changes, op.Destroys)
	}
	if o := r.Outcome; o != nil {
		values["outcome"], values["error"] = o.State, o.Error
	}
	if r.Run != nil && r.Run.ExitCode != nil {
		values["outcome"] = "exit code " + strconv.Itoa(*r.Run.ExitCode)
	}
	out := make([]string, len(columns))
	for i, name := range columns {
		out[i] = values[name]
	}
	return out
}

// what says what a record is about.
func what(r audit.Record) string {
	text := string(r.Action)
	if r.Operation != nil && r.Container == nil {
		text += " of " + r.Operation.Workspace
	}
	if r.Asked != "" {
		text += " " + r.Asked
	}
	return text
}

// ExportCSV writes the records of a period as CSV, with a line of names.
func (t Trail) ExportCSV(ctx context.Context, w io.Writer, p Period) error {
	return t.table(ctx, w, p, func(audit.Record) bool { return true })
}

// ReportCSV is Report as CSV.
func (t Trail) ReportCSV(ctx context.Context, w io.Writer, p Period) error {
	return t.table(ctx, w, p, isChange)
}

func (t Trail) table(ctx context.Context, w io.Writer, p Period, selected func(audit.Record) bool) error {
	out := csv.NewWriter(w)
	err := out.Write(columns)
	said := verdicts{}
	err = errors.Join(err, t.each(ctx, store.AuditQuery{Since: p.Since, Until: p.Until},
		func(_ audit.Line, r audit.Record) error {
			cells := said.row(r)
			if !selected(r) {
				return nil
			}
			return out.Write(cells)
		}))
	out.Flush()
	return errors.Join(err, out.Error())
}

// isChange selects what an auditor samples: what was asked for, and what has changed. The plan and the beginning of an
// apply are parts of its end.
func isChange(r audit.Record) bool {
	if r.Action == audit.ActionPlan {
		return r.Outcome != nil // it was refused, or has failed
	}
	return r.Outcome == nil || r.Outcome.State != audit.OutcomeBegun
}

// oneLine makes a text fit for a cell of a table.
var oneLine = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ")

// Report writes one line for each change in a period, for people.
func (t Trail) Report(ctx context.Context, w io.Writer, p Period) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	wanted := []string{
		"record", "time", "requester", "action", "name", "changes", "verdict", "correlation_id", "outcome", "error",
	}
	_, err := fmt.Fprintln(table, strings.ToUpper(strings.Join(wanted, "\t")))
	selected, said := store.AuditQuery{Since: p.Since, Until: p.Until}, verdicts{}
	err = errors.Join(err, t.each(ctx, selected, func(_ audit.Line, r audit.Record) error {
		values := said.row(r)
		if !isChange(r) {
			return nil
		}
		cells := make([]string, len(wanted))
		for i, name := range wanted {
			cells[i] = cmp.Or(oneLine.Replace(values[slices.Index(columns, name)]), "-")
		}
		_, err := fmt.Fprintln(table, strings.Join(cells, "\t"))
		return err
	}))
	return errors.Join(err, table.Flush())
}

// Show writes a record, given by its number, as indented JSON; or the records of the container with that id, beginning
// of an id, or name, one in a line. What is not found is an error.
func (t Trail) Show(ctx context.Context, w io.Writer, ref string) error {
	if seq, err := strconv.ParseInt(ref, 10, 64); err == nil && len(ref) < 12 {
		list, err := t.DB.Audit(ctx, store.AuditQuery{After: seq - 1, Limit: 1})
		if err != nil {
			return err
		}
		if len(list) == 1 && list[0].Seq == seq {
			var out bytes.Buffer
			if err := json.Indent(&out, list[0].Line, "", "  "); err != nil {
				return &audit.AlteredError{Record: seq, What: "it cannot be read"}
			}
			_, err := fmt.Fprintln(w, out.String())
			return err
		}
	}
	found := false
	err := t.each(ctx, store.AuditQuery{}, func(l audit.Line, r audit.Record) error {
		c := r.Container
		if c == nil || c.Name != strings.TrimPrefix(ref, "/") && !strings.HasPrefix(c.ID, ref) {
			return nil
		}
		found = true
		_, err := fmt.Fprintf(w, "%s\n", l.Line)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("no record has the number %s, and none is about a container with that id or name", ref)
	}
	return err
}
