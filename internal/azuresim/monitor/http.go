package monitor

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxRequest bounds a request's body.
const maxRequest = 4 << 20

// ServeHTTP answers POST /v1/workspaces/{id}/query, and 501 to any other path. As the service does, it answers a
// request without body or Content-Type by 200 with an empty body, and a query over a workspace without any data by 204.
// It refuses what package logs does not use: GET, a timespan beside the query, several workspaces, and the header
// Prefer.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(part) != 4 || part[0] != "v1" || part[1] != "workspaces" || part[2] == "" || part[3] != "query" {
		message := fmt.Sprintf("azuresim has no route %s %s", r.Method, r.URL.Path)
		refuse(w, http.StatusNotImplemented, "NotImplemented", message, nil)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "azuresim supports no "+r.Method+" here: use POST", nil)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		badArgument(w, "the body cannot be read or is too large", nil)
		return
	}
	if len(body) == 0 || r.Header.Get("Content-Type") == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	if prefer := r.Header.Get("Prefer"); prefer != "" {
		badArgument(w, "the header Prefer is not supported by azuresim: "+prefer, nil)
		return
	}
	query, err := decode(r.Header.Get("Content-Type"), body)
	if err != nil {
		badArgument(w, err.Error(), nil)
		return
	}
	s.answer(w, part[2], query)
}

func (s *Store) answer(w http.ResponseWriter, workspace, query string) {
	if strings.TrimSpace(query) == "" {
		badArgument(w, "Query is missing or empty", nil)
		return
	}
	now, total := s.now().UTC(), 0
	data := map[string]table{}
	for name, cols := range s.schema {
		data[name] = table{cols: cols, rows: s.visible(name, workspace, now)}
		total += len(data[name].rows)
	}
	var absent []string // a table does not exist before its first row
	t, qerr := run(query, func(name string) (table, bool) {
		t, ok := data[name]
		if ok && len(t.rows) == 0 && !slices.Contains(absent, name) {
			absent = append(absent, name)
		}
		return t, ok
	})
	switch {
	case total == 0 && (qerr == nil || qerr.semantic):
		w.WriteHeader(http.StatusNoContent)
		return
	case qerr != nil:
		badArgument(w, "The request had some invalid properties", innerError(query, qerr))
		return
	}
	var partial any
	if len(absent) > 0 {
		partial = absentError(absent)
	}
	if len(t.rows) > s.limit {
		t.rows = t.rows[:s.limit]
		partial = partialError(s.limit)
	}
	writeTable(w, t, partial)
}

// decode returns the query in the body of a POST.
func decode(contentType string, body []byte) (string, error) {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return "", fmt.Errorf("the Content-Type has to be application/json")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields() // which refuses timespan and workspaces too
	var request struct {
		Query string `json:"query"`
	}
	if err := dec.Decode(&request); err != nil {
		return "", fmt.Errorf("azuresim cannot read the body: %w", err)
	}
	return request.Query, nil
}

func writeTable(w http.ResponseWriter, t table, partial any) {
	type jsonColumn struct {
		Name string `json:"name"`
		Type kind   `json:"type"`
	}
	cols, rows := make([]jsonColumn, len(t.cols)), make([][]any, len(t.rows))
	for i, c := range t.cols {
		cols[i] = jsonColumn{c.name, c.kind}
	}
	for i, r := range t.rows {
		rows[i] = make([]any, len(t.cols))
		for j, c := range t.cols {
			rows[i][j] = wire(c.kind, r[j])
		}
	}
	out := map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": cols, "rows": rows}}}
	if partial != nil {
		out["error"] = partial
	}
	writeJSON(w, http.StatusOK, out)
}

// wire returns a value as the API writes it: times and dynamic values are strings.
func wire(k kind, v any) any {
	switch {
	case v == nil:
		return nil
	case k == kDatetime:
		return v.(time.Time).Format("2006-01-02T15:04:05.9999999Z")
	case k == kDynamic:
		return text(v)
	}
	return v
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has left
}

func badArgument(w http.ResponseWriter, message string, inner any) {
	refuse(w, http.StatusBadRequest, "BadArgumentError", message, inner)
}

// refuse writes an error in the form of the API.
func refuse(w http.ResponseWriter, status int, code, message string, inner any) {
	e := map[string]any{"message": message, "code": code, "correlationId": rand.Text()}
	if inner != nil {
		e["innererror"] = inner
	}
	writeJSON(w, status, map[string]any{"error": e})
}

// innerError nests a refusal of the query as the service does: kind, then Kusto's own error with its place.
func innerError(query string, e *queryError) any {
	line, at := place(query, e.off)
	code, message := "SyntaxError", "A recognition error occurred in the query."
	if e.semantic {
		code, message = "SemanticError", "A semantic error occurred."
	}
	return map[string]any{"code": code, "message": message, "innererror": map[string]any{
		"code": e.code, "message": fmt.Sprintf("%s on line [%d,%d]", e.msg, line, at),
		"line": line, "pos": at, "token": e.token,
	}}
}

func partialError(limit int) any {
	return map[string]any{
		"code": "PartialError", "message": "There were some errors when processing your query.",
		"details": []any{map[string]any{
			"code": "EngineError", "message": "Something went wrong processing your query on the server.",
			"innererror": map[string]any{
				"code": "-2133196797",
				"message": fmt.Sprintf("The results of this query exceed the set limit of %d records, so not all records "+
					"were returned (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003).", limit),
				"severity": 2, "severityName": "Error",
			},
		}},
	}
}

// absentError is the warning beside the rows of a query that ignores tables which do not exist (union isfuzzy=true).
func absentError(names []string) any {
	return map[string]any{
		"code": "PartialError", "message": "There were some errors when processing your query.",
		"details": []any{map[string]any{
			"code": "EngineError", "message": "Something went wrong processing your query on the server.",
			"innererror": map[string]any{
				"code":     "-2133196779",
				"message":  "Failed to resolve table or column expression named '" + strings.Join(names, "', '") + "'",
				"severity": 3, "severityName": "Warning",
			},
		}},
	}
}
