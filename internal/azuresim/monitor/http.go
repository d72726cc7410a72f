package monitor

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRequest bounds a request's body.
const maxRequest = 4 << 20

// ServeHTTP answers POST and GET /v1/workspaces/{id}/query, and 501 to any other path. As the service does, it answers a request
// without body or Content-Type by 200 with an empty body, and a query over a workspace without any data by 204.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(part) != 4 || part[0] != "v1" || part[1] != "workspaces" || part[2] == "" || part[3] != "query" {
		refuse(w, http.StatusNotImplemented, "NotImplemented", fmt.Sprintf("the simulator has no route %s %s", r.Method, r.URL.Path), nil)
		return
	}
	var req queryRequest
	switch r.Method {
	case http.MethodGet:
		req.Query, req.Timespan = r.URL.Query().Get("query"), r.URL.Query().Get("timespan")
	case http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			badArgument(w, "the body cannot be read or is too large", nil)
			return
		}
		if len(body) == 0 || r.Header.Get("Content-Type") == "" {
			w.WriteHeader(http.StatusOK)
			return
		}
		if err := req.decode(r.Header.Get("Content-Type"), body); err != nil {
			badArgument(w, err.Error(), nil)
			return
		}
	default:
		w.Header().Set("Allow", "GET, POST")
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "use GET or POST", nil)
		return
	}
	prefer, err := parsePrefer(r.Header.Values("Prefer"))
	if err != nil {
		badArgument(w, err.Error(), nil)
		return
	}
	s.answer(w, part[2], req, prefer)
}

func (s *Store) answer(w http.ResponseWriter, workspace string, req queryRequest, prefer prefer) {
	if strings.TrimSpace(req.Query) == "" {
		badArgument(w, "Query is missing or empty", nil)
		return
	}
	q, qerr := parse(req.Query)
	if qerr != nil {
		badArgument(w, "The request had some invalid properties", innerError(req.Query, qerr))
		return
	}
	now := s.now().UTC()
	from, to, err := parseTimespan(req.Timespan, now)
	if err != nil {
		badArgument(w, err.Error(), nil)
		return
	}
	data := map[string]table{}
	total := 0
	for name, cols := range s.schema {
		rows := s.visible(name, workspace, now)
		total += len(rows)
		if req.Timespan != "" {
			at := slices.Index(cols, column{"TimeGenerated", kDatetime})
			rows = slices.DeleteFunc(rows, func(r row) bool {
				t := r.vals[at].(time.Time)
				return t.Before(from) || t.After(to)
			})
		}
		data[name] = table{cols, rows}
	}
	if total == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	t, qerr := engine{now: now, read: func(name string) (table, bool) {
		t, ok := data[name]
		return t, ok
	}}.run(q)
	if qerr != nil {
		badArgument(w, "The request had some invalid properties", innerError(req.Query, qerr))
		return
	}
	var partial any
	if len(t.rows) > s.limit {
		t.rows = t.rows[:s.limit]
		partial = partialError(s.limit)
	}
	writeTable(w, t, partial, prefer)
}

// queryRequest is the body of a POST.
type queryRequest struct {
	Query      string   `json:"query"`
	Timespan   string   `json:"timespan"`
	Workspaces []string `json:"workspaces"`
}

func (q *queryRequest) decode(contentType string, body []byte) error {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return fmt.Errorf("the Content-Type has to be application/json")
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(q); err != nil {
		return fmt.Errorf("the body is not a query: %w", err)
	}
	if len(q.Workspaces) != 0 {
		return fmt.Errorf("the simulator does not query several workspaces: 'workspaces'")
	}
	return nil
}

// prefer is what the Prefer header asks for.
type prefer struct{ statistics, render bool }

// parsePrefer reads the header; as HTTP has it, preferences of other names are passed over.
func parsePrefer(values []string) (p prefer, err error) {
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		switch k, v, _ := strings.Cut(strings.TrimSpace(part), "="); k {
		case "include-statistics":
			p.statistics = v == "true"
		case "include-render":
			p.render = v == "true"
		case "wait":
			if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 600 {
				return p, fmt.Errorf("header Prefer: wait=%s is not a number of seconds from 1 to 600", v)
			}
		}
	}
	return p, nil
}

var durationForm = regexp.MustCompile(`^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration reads an ISO 8601 duration without years and months, which have no fixed length.
func parseDuration(s string) (time.Duration, bool) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(s, "P") || strings.HasSuffix(s, "T") {
		return 0, false
	}
	var sum float64
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			f, _ := strconv.ParseFloat(m[i+1], 64) // the expression lets nothing else through
			sum += f * float64(unit)
		}
	}
	return time.Duration(sum), sum < math.MaxInt64
}

// parseTimespan reads the request's timespan: start/end, start/duration, duration/end or duration, both ends included.
func parseTimespan(s string, now time.Time) (from, to time.Time, err error) {
	if s == "" {
		return from, to, nil
	}
	fail := fmt.Errorf("the timespan '%s' is not an ISO 8601 interval such as PT1H or 2026-01-31T00:00:00Z/PT1H", s)
	a, b, two := strings.Cut(s, "/")
	if !two {
		d, ok := parseDuration(a)
		if !ok {
			return from, to, fail
		}
		return now.Add(-d), now, nil
	}
	from, aTime := parseTime(a)
	to, bTime := parseTime(b)
	aDur, aIsDur := parseDuration(a)
	bDur, bIsDur := parseDuration(b)
	switch {
	case aTime && bTime:
	case aTime && bIsDur:
		to = from.Add(bDur)
	case aIsDur && bTime:
		from = to.Add(-aDur)
	default:
		return from, to, fail
	}
	return from, to, nil
}

func writeTable(w http.ResponseWriter, t table, partial any, prefer prefer) {
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
			rows[i][j] = wire(c.kind, r.vals[j])
		}
	}
	out := map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": cols, "rows": rows}}}
	if partial != nil {
		out["error"] = partial
	}
	if prefer.statistics {
		out["statistics"] = map[string]any{"query": map[string]any{
			"executionTime": 0, "datasetStatistics": []any{map[string]any{"tableRowCount": len(t.rows)}},
		}}
	}
	if prefer.render {
		out["render"] = map[string]any{"visualization": nil}
	}
	writeJSON(w, http.StatusOK, out)
}

// wire is a value as the API writes it: times and dynamic values are strings.
func wire(k kind, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case time.Time:
		return v.Format("2006-01-02T15:04:05.9999999Z")
	case float64:
		switch {
		case k == kDynamic:
			return text(v)
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 0):
			return strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+") + "inity"
		}
	case time.Duration:
		return text(v)
	}
	if k == kDynamic {
		return text(v)
	}
	return v
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
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
		"code": e.code, "message": fmt.Sprintf("%s on line [%d,%d]", e.msg, line, at), "line": line, "pos": at, "token": e.token,
	}}
}

func partialError(limit int) any {
	return map[string]any{
		"code": "PartialError", "message": "There were some errors when processing your query.",
		"details": []any{map[string]any{
			"code": "EngineError", "message": "Something went wrong processing your query on the server.",
			"innererror": map[string]any{
				"code":     "-2133196797",
				"message":  fmt.Sprintf("The results of this query exceed the set limit of %d records, so not all records were returned (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003).", limit),
				"severity": 2, "severityName": "Error",
			},
		}},
	}
}
