package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/server"
)

// line holds one line of the log.
type line struct {
	Level, Message, Error, Cause string
	Status                       int
	Method, Path                 string
	RequestID                    string   `json:"request_id"`
	CorrelationID                string   `json:"azure_correlation_id"`
	AzureRequestID               string   `json:"azure_request_id"`
	CorrelationIDs               []string `json:"azure_correlation_ids"`
	Duration                     *float64
}

func readLog(t *testing.T, log *bytes.Buffer) (lines []line) {
	t.Helper()
	for dec := json.NewDecoder(log); ; {
		var l line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

func TestRetryAfter(t *testing.T) {
	for _, row := range []struct {
		after time.Duration
		want  string
	}{{0, ""}, {time.Millisecond, "1"}, {30 * time.Second, "30"}, {1500 * time.Millisecond, "2"}} {
		b := &backend{err: &api.Error{Kind: api.Unavailable, Message: "busy", RetryAfter: row.after}}
		w := do(newHandler(b, io.Discard), http.MethodPost, "/internal/v1/containers/x/start", "")
		if got := w.Header().Get("Retry-After"); w.Code != http.StatusServiceUnavailable || got != row.want {
			t.Errorf("%s: got %d, %q, want %q", row.after, w.Code, got, row.want)
		}
	}
}

func TestErrorsOfAzureAreLogged(t *testing.T) {
	for _, row := range []struct {
		kind           api.Kind
		correlation    string
		status         int
		level, message string
	}{
		{api.Forbidden, "c", http.StatusForbidden, "warn", "request refused by Azure"},
		{api.NotFound, "c", http.StatusNotFound, "warn", "request refused by Azure"},
		{api.Conflict, "c", http.StatusConflict, "warn", "request refused by Azure"},
		{api.InvalidParameter, "c", http.StatusBadRequest, "warn", "request refused by Azure"},
		{api.Unavailable, "c", http.StatusServiceUnavailable, "error", "request failed"},
		{api.Internal, "", http.StatusInternalServerError, "error", "request failed"},
		{api.NotFound, "", http.StatusNotFound, "", ""},
	} {
		var log bytes.Buffer
		e := &api.Error{Kind: row.kind, Message: "why", Err: errors.New("because"), CorrelationID: row.correlation}
		if row.correlation != "" {
			e.RequestID = "r"
		}
		w := do(newHandler(&backend{err: e}, &log), http.MethodPost, "/internal/v1/containers/x/start", "")
		if w.Code != row.status {
			t.Errorf("%v: got status %d, want %d", row, w.Code, row.status)
		}
		lines := readLog(t, &log)
		if row.level == "" {
			if len(lines) != 1 {
				t.Errorf("%v: logged %+v", row, lines)
			}
			continue
		}
		want := line{
			Level: row.level, Message: row.message, Error: "why", Cause: "because", Status: lines[0].Status,
			CorrelationID: row.correlation, AzureRequestID: e.RequestID, RequestID: w.Header().Get("X-Request-Id"),
		}
		if len(lines) != 2 || !reflect.DeepEqual(lines[0], want) || want.RequestID == "" {
			t.Errorf("%v: logged %+v, want first %+v", row, lines, want)
		}
		if last := lines[len(lines)-1]; last.RequestID != want.RequestID {
			t.Errorf("%v: the request's line has id %q, want %q", row, last.RequestID, want.RequestID)
		}
	}
}

// calling is a backend that reports calls of Azure for every start.
type calling struct {
	backend
	ids []string
}

func (c *calling) ContainerStart(ctx context.Context, _ string) error {
	api.Correlated(ctx, c.ids...)
	return c.err
}

func TestAccessLog(t *testing.T) {
	for _, row := range []struct {
		ids, want []string
		err       error
	}{
		{nil, nil, nil},
		{[]string{"a", "", "b", "a"}, []string{"a", "b"}, nil},
		{[]string{"a"}, []string{"a"}, api.Errorf(api.Conflict, "no")},
	} {
		var log bytes.Buffer
		b := &calling{ids: row.ids, backend: backend{err: row.err}}
		r := httptest.NewRequest(http.MethodPost, "/internal/v1/containers/x/start?token=sEcReT", strings.NewReader(""))
		r.Header.Set("Authorization", "Bearer sEcReT")
		w := httptest.NewRecorder()
		server.New(server.Config{Backend: b, Log: zerolog.New(&log)}).ServeHTTP(w, r)
		if strings.Contains(log.String(), "sEcReT") {
			t.Errorf("the log holds a secret: %s", &log)
		}
		lines := readLog(t, &log)
		got := lines[len(lines)-1]
		want := line{
			Level: "info", Message: "request", Method: http.MethodPost, Path: "/internal/v1/containers/x/start",
			Status: w.Code, RequestID: w.Header().Get("X-Request-Id"), CorrelationIDs: row.want, Duration: got.Duration,
		}
		if !reflect.DeepEqual(got, want) || got.Duration == nil {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
