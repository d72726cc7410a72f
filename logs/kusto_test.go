package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// kustoParser is Microsoft's own parser of KQL, with the tables of Application Insights in a Log Analytics workspace:
// https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces and apprequests.
type kustoParser struct{ dir string }

// newKustoParser installs the parser.
func newKustoParser(t *testing.T) kustoParser {
	t.Helper()
	azuretest.NeedsProgram(t, "npm")
	p := kustoParser{t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS("testdata/kusto")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return p
}

// diagnostics returns what the parser says about each query.
func (p kustoParser) diagnostics(t *testing.T, queries ...string) [][]string {
	t.Helper()
	in, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(p.dir, "parse.js"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	if err := json.Unmarshal(out, &found); err != nil || len(found) != len(queries) {
		t.Fatalf("%d answers to %d queries, %v", len(found), len(queries), err)
	}
	return found
}

// runsOf returns n runs, of which azf-handler's lines from first on are wanted, or all if first is 0. Their windows do
// not touch.
func runsOf(n, first int) (runs []Run) {
	for i := range n {
		from := noon.Add(time.Duration(i) * time.Hour)
		r := Run{ID: fmt.Sprintf("%032d", i), From: from, To: from.Add(time.Minute), First: first}
		if first > 0 {
			r.Last = first + 1_000_000
		}
		runs = append(runs, r)
	}
	return runs
}

// allQueries returns each query that this package sends for requests of every shape.
func allQueries(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	r := reader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent struct{ Query string }
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		seen[sent.Query] = true
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"tables":[{"name":"PrimaryResult","columns":[],"rows":[]}]}`))
	}))
	shapes := [][]Run{
		runsOf(1, 0), runsOf(1, 7), {runsOf(1, 0)[0], runsOf(2, 7)[1]}, runsOf(2, 0),
		runsOf(maxRuns, 0), runsOf(maxRuns, 7), runsOf(2*maxRuns+1, 0), runsOf(2*maxRuns+1, 7),
	}
	odd := runsOf(1, 0)
	odd[0].ID = "\" or true // \\ ' \n \u2028 {}[]() \U0001F600"
	for _, runs := range append(shapes, odd) {
		for bounds := range 4 {
			for streams := 1; streams < 4; streams++ {
				for _, tail := range []int{0, 1, 1 << 30} {
					if len(runs) >= maxRuns && (streams != 3 || bounds == 1 || bounds == 2 || tail == 1) {
						continue // the parser takes a second for such a query
					}
					q := Query{WorkspaceID: workspace, App: app, Runs: runs, Tail: tail}
					q.Stdout, q.Stderr = streams&1 != 0, streams&2 != 0
					if bounds&1 != 0 {
						q.Since = noon.Add(1)
					}
					if bounds&2 != 0 {
						q.Until = noon.Add(time.Hour)
					}
					if _, err := r.Lines(t.Context(), q); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		ended := EndedQuery{WorkspaceID: workspace, App: app, RunID: runs[0].ID, OperationID: "trace", From: noon, To: noon}
		if _, err := r.Ended(t.Context(), ended); err != nil {
			t.Fatal(err)
		}
	}
	var queries []string
	for query := range seen {
		queries = append(queries, query)
	}
	slices.Sort(queries)
	return queries
}

// TestKustoParsesEachQuery gives each query to Microsoft's parser.
func TestKustoParsesEachQuery(t *testing.T) {
	p := newKustoParser(t)
	queries := allQueries(t)
	tables := map[string]int{}
	for i, found := range p.diagnostics(t, queries...) {
		if len(found) > 0 {
			t.Errorf("%.2000s\n%s", queries[i], strings.Join(found, "\n"))
		}
		for _, table := range []string{"AppTraces", "AppRequests"} {
			if strings.Contains(queries[i], "\n    "+table+"\n") {
				tables[table]++
			}
		}
	}
	traces, requests := tables["AppTraces"], tables["AppRequests"]
	if traces < 100 || requests != 1 || traces+requests != len(queries) {
		t.Errorf("%d queries, of the tables %v", len(queries), tables)
	}
}

// TestKustoRefuses expects that the parser finds faults: those of queries like ours, and queries of more runs than
// Lines puts into one.
func TestKustoRefuses(t *testing.T) {
	p := newKustoParser(t)
	whole := handlerKQL(query("run-1").with(func(q *Query) { q.Tail = 3 }))
	other := otherKQL(query("run-1"), query("run-1").Runs)
	request := requestKQL(EndedQuery{App: app, OperationID: "trace", From: noon, To: noon})
	many := func(n, first int) Query { return query().with(func(q *Query) { q.Runs = runsOf(n, first) }) }
	cases := []struct{ name, query, fault string }{
		{"handler", whole, ""},
		{"other", other, ""},
		{"request", request, ""},
		{"an unknown column", strings.ReplaceAll(whole, "SeverityLevel", "Severity") + "| where Severity == Nope", "'Nope'"},
		{"a misspelt column", strings.Replace(whole, "Properties.Category", "Property.Category", 1), "'Property'"},
		{"an unknown table", strings.Replace(whole, "    AppTraces\n", "    AppTrace\n", 1), "'AppTrace'"},
		{"an unknown column of requests", strings.Replace(request, "project Success", "project Succeeded", 1), "'Succeeded'"},
		{"an unknown function", strings.Replace(whole, "tostring(Line.m)", "to_string(Line.m)", 1), "'to_string'"},
		{"a wrong type", whole + "| where Seq endswith 3", "KS"},
		{"a missing bracket", strings.Replace(other, "where not(", "where not((", 1), "Expected"},
		{"an open string", strings.Replace(whole, `Console"`, `Console`, 1), "KS"},
		{"an open union", strings.Replace(other, "AppTraces\n", "AppTraces,\n", 1), "KS"},
		{"600 runs with numbers", handlerKQL(many(600, 7)), "KS"},
		{"600 runs of another handler", otherKQL(many(600, 0), many(600, 0).Runs), "KS"},
		{"the most runs with numbers", handlerKQL(many(maxRuns, 7)), ""},
		{"the most runs of another handler", otherKQL(many(maxRuns, 0), many(maxRuns, 0).Runs), ""},
	}
	var queries []string
	for _, c := range cases {
		queries = append(queries, c.query)
	}
	for i, found := range p.diagnostics(t, queries...) {
		got := strings.Join(found, "\n")
		if c := cases[i]; (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.fault)
		}
	}
}
