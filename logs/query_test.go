package logs

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGoldenQueries(t *testing.T) {
	more := []Run{
		{ID: "run-1", From: noon, To: noon.Add(time.Minute)},
		{ID: "run-2", From: noon.Add(time.Minute), To: noon.Add(time.Hour), First: 101, Last: 200},
		{ID: "run-3", From: noon.Add(time.Hour), To: noon.Add(2 * time.Hour)},
		{ID: "run-4", From: noon.Add(2 * time.Hour), To: noon.Add(3 * time.Hour)},
	}
	for name, q := range map[string]Query{
		"whole": query(`x" or true //`),
		"tail":  query("run-1").with(func(q *Query) { q.Tail, q.Stdout = 10, false }),
		"bounds": query("run-1").with(func(q *Query) {
			q.Since, q.Stderr = noon.Add(123456701), false
			q.Until = noon.In(time.FixedZone("", 3600)).Add(time.Hour + 99)
		}),
		"several": query().with(func(q *Query) { q.Runs, q.Tail = more, 100 }),
	} {
		for kind, got := range map[string]string{
			"handler": handlerKQL(q),
			"other":   otherKQL(q, slices.DeleteFunc(slices.Clone(q.Runs), func(r Run) bool { return !r.whole() })),
		} {
			t.Run(name+"-"+kind, func(t *testing.T) {
				file := filepath.Join("testdata", name+"-"+kind+".kql")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), got); d != "" {
					t.Errorf("query (-want +got), -update to accept:\n%s", d)
				}
			})
		}
	}
}

// TestKQLString lets the service evaluate each literal.
func TestKQLString(t *testing.T) {
	s := store(map[string]any{})
	for _, text := range []string{
		"", "plain", `"`, `'`, `\`, `\"`, `" or 1 == 1 //`, "a\nb\r\tc\x00\x7f", "é \u2028 \u0085 \U0001F600",
		`@"x"`, "${x}", strings.Repeat(`\"`, 1000),
	} {
		body, err := json.Marshal(map[string]string{"query": "AppTraces | project x = " + kqlString(text)})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/workspaces/w/query", strings.NewReader(string(body)))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		var got struct{ Tables []struct{ Rows [][]string } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("%q: status %d: %s", text, w.Code, w.Body)
			continue
		}
		if d := cmp.Diff([][]string{{text}}, got.Tables[0].Rows); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}

func TestBadQueries(t *testing.T) {
	r := reader(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a call was made") }))
	for name, change := range map[string]func(*Query){
		"no workspace":        func(q *Query) { q.WorkspaceID = "" },
		"no app":              func(q *Query) { q.App = "" },
		"app with quotes":     func(q *Query) { q.App = `a" or true //` },
		"app with line":       func(q *Query) { q.App = "a\nb" },
		"long app":            func(q *Query) { q.App = strings.Repeat("a", 61) },
		"no run":              func(q *Query) { q.Runs = nil },
		"no run id":           func(q *Query) { q.Runs[0].ID = "" },
		"no window":           func(q *Query) { q.Runs[0].From = time.Time{} },
		"window backward":     func(q *Query) { q.Runs[0].To = noon.Add(-1) },
		"numbers from 0":      func(q *Query) { q.Runs[0].Last = 5 },
		"numbers backward":    func(q *Query) { q.Runs[0].First, q.Runs[0].Last = 6, 5 },
		"no stream":           func(q *Query) { q.Stdout, q.Stderr = false, false },
		"tail below no lines": func(q *Query) { q.Tail = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Lines(t.Context(), query("run-1").with(change))
			if err == nil || !strings.HasPrefix(err.Error(), "query logs") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New without credential")
	}
}
