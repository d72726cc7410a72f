package logs

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

func TestErrors(t *testing.T) {
	// A Retry-After beyond the SDK's longest delay ends its retries at once.
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const table = `{"name":"PrimaryResult","columns":[],"rows":[]}`
	rows := func(rows string) http.HandlerFunc {
		return answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[`+rows+`]}]}`)
	}
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		cause  error
		status int    // of the ResponseError, 0 for none
		text   string // in the message
	}{
		{name: "throttled", h: answer(429, `{"error":{"code":"TooManyRequests"}}`), cause: ErrThrottled, status: 429},
		{
			name:  "partial",
			h:     answer(200, `{"tables":[`+table+`],"error":{"code":"PartialError","message":"limit of 500000 records"}}`),
			cause: ErrPartial, text: "limit of 500000 records",
		},
		{
			name: "partial, beside a warning",
			h: answer(200, `{"tables":[`+table+`],"error":{"code":"PartialError","details":[`+
				`{"innererror":{"severity":3}},{"innererror":{"severity":2,"message":"too large"}}]}}`),
			cause: ErrPartial, text: "too large",
		},
		{
			name: "forbidden", h: answer(403, `{"error":{"code":"InsufficientAccessError"}}`), status: 403,
			text: "Log Analytics Reader",
		},
		{
			name: "refused query",
			h:    answer(400, `{"error":{"code":"BadArgumentError","innererror":{"code":"SemanticError"}}}`), status: 400,
			text: "SemanticError",
		},
		{name: "time-out", h: answer(504, `{"error":{"code":"GatewayTimeout"}}`), status: 504},
		{name: "no body", h: answer(200, ``), text: "no table"},
		{name: "other columns", h: rows(`["x"]`), text: "1 columns"},
		{name: "no time", h: rows(`[0,1,null,"out","x","",0,""]`), text: "decode row"},
		{name: "no number", h: rows(`[0,null,"2026-01-31T12:00:00Z","out","x","",0,""]`), text: "columns hold"},
		{name: "no such run", h: rows(`[1,1,"2026-01-31T12:00:00Z","out","x","",0,""]`), text: "columns hold"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := reader(t, c.h).Lines(t.Context(), query("run-1"))
			if err == nil || !strings.Contains(err.Error(), app) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v", err)
			}
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("error %v does not wrap %v", err, c.cause)
			}
			resp, ok := errors.AsType[*azcore.ResponseError](err)
			if ok != (c.status != 0) || ok && resp.StatusCode != c.status {
				t.Errorf("error %v does not wrap a response with status %d", err, c.status)
			}
		})
	}
	t.Run("a warning", func(t *testing.T) {
		h := answer(200, `{"tables":[`+table+`],"error":{"code":"PartialError","details":[{"innererror":{"severity":3}}]}}`)
		if lines, err := reader(t, h).Lines(t.Context(), query("run-1")); err != nil || len(lines) > 0 {
			t.Errorf("got %v, %v", lines, err)
		}
	})
	t.Run("no token", func(t *testing.T) {
		cause := errors.New("az login has expired")
		r := readerOf(t, "https://logs.test", http.DefaultClient, azuretest.Credential{Err: cause})
		if _, err := r.Lines(t.Context(), query("run-1")); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		r := readerOf(t, "http://logs.test", http.DefaultClient, azuretest.Credential{})
		if _, err := r.Lines(t.Context(), query("run-1")); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := reader(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1)) // a handler notices a departed client only after reading the body
			cancel()
			<-ctx.Done()
		}))
		if _, err := r.Lines(ctx, query("run-1")); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestTokenIsForTheAudience(t *testing.T) {
	var got string
	r := reader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	}))
	check(t, r, query("run-1"), nil)
	if want := "POST /v1/workspaces/" + workspace + "/query Bearer https://logs.test/.default"; got != want {
		t.Errorf("request %q, want %q", got, want)
	}
}
