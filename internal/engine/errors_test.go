package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/secret"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

const correlation = "7a3c1d2e-0b4f-4c5d-9e6f-1a2b3c4d5e6f"

// terraformFailed returns the error of a Terraform run that failed with these diagnostics.
func terraformFailed(diagnostics ...string) error {
	return &workspace.TerraformError{
		Step: "apply", Dir: "/state/w", CorrelationID: correlation, Diagnostics: diagnostics,
		Err: errors.New("exit status 1"),
	}
}

func TestSecretsOfAContainer(t *testing.T) {
	c := store.Container{}
	c.Config.Env = []string{"TOKEN=hunter2-hunter2", "SHORT=west", "EMPTY=", "UNSET"}
	hide := Settings{RegistryPassword: "registry-pass"}.secretsOf(c)
	got := hide.Hide("hunter2-hunter2, west, registry-pass")
	if want := secret.Hidden + ", west, " + secret.Hidden; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFailedRequestsNameTheirCalls(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error {
		return terraformFailed("unexpected status 409 (409 Conflict) with error: Conflict: hunter2-hunter2 is in use.")
	}
	other := &workspace.TerraformError{
		Step: "apply", Dir: "/w", CorrelationID: "other", Err: errors.New("exit status 1"),
		Diagnostics: []string{"unexpected status 500 (500 X) with error: E: e"},
	}
	f.workspaces.destroy = func(context.Context) error { return other }
	req := request
	config := *request.Config
	config.Env = []string{"SECRET=hunter2-hunter2"}
	req.Config = &config
	ctx, calls := api.WithCorrelations(t.Context())
	_, err := f.ContainerCreate(ctx, "web", req)
	got, ok := errors.AsType[*api.Error](err)
	if !ok || got.Kind != api.Conflict || got.CorrelationID != correlation ||
		!strings.Contains(got.Message, "(correlation id other)") || !strings.Contains(got.Message, "kept as dead") {
		t.Errorf("got %+v", err)
	}
	if ids := strings.Join(calls(), " "); ids != correlation+" other" {
		t.Errorf("got calls %q", ids)
	}
	info, err := f.ContainerInspect(t.Context(), "web")
	if err != nil || !strings.Contains(info.State.Error, "Conflict: "+secret.Hidden) {
		t.Errorf("got %+v, %v", info.State, err)
	}
	ctx, calls = api.WithCorrelations(t.Context())
	if err := f.ContainerRemove(ctx, "web", false); api.KindOf(err) != api.Unavailable ||
		!strings.Contains(err.Error(), "the daemon will retry its removal") || strings.Join(calls(), " ") != "other" {
		t.Errorf("got %v, calls %q", err, calls())
	}
}

// transporter answers every call of the SDK.
type transporter func(*http.Request) (*http.Response, error)

func (t transporter) Do(r *http.Request) (*http.Response, error) { return t(r) }

// asking reads logs with one call of the SDK.
type asking struct {
	LogReader
	pipeline runtime.Pipeline
}

func (a asking) Lines(ctx context.Context, _ logs.Query) ([]logs.Line, error) {
	req, err := runtime.NewRequest(ctx, http.MethodGet, "https://api.loganalytics.test")
	if err != nil {
		return nil, err
	}
	resp, err := a.pipeline.Do(req)
	if err != nil {
		return nil, err
	}
	return nil, resp.Body.Close()
}

func TestQueriesAreCorrelated(t *testing.T) {
	for header, want := range map[string]string{
		"X-Ms-Correlation-Request-Id": "c", "X-Ms-Request-Id": "c", "Other": "",
	} {
		answer := func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{header: {"c"}}, Body: http.NoBody}, nil
		}
		pipeline := runtime.NewPipeline("test", "v1", runtime.PipelineOptions{},
			&policy.ClientOptions{Transport: transporter(answer)})
		ctx, calls := api.WithCorrelations(t.Context())
		if _, err := (correlatedLogs{asking{pipeline: pipeline}}).Lines(ctx, logs.Query{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(calls(), " "); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

func TestReadingLogsIsRefused(t *testing.T) {
	f := setup(t)
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		return invoker.Result{}, &invoker.Error{Kind: invoker.KindCut, App: "a", Message: "cut; x-functions-key: sEcReT"}
	}
	id := f.create(t, "web")
	if err := f.ContainerStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	cut := "function app a: cut; x-functions-key: " + secret.Hidden + "; Application Insights has nothing"
	if res := f.wait(t, id, ""); res.Error == nil || !strings.HasPrefix(res.Error.Message, cut) {
		t.Errorf("got %+v", res.Error)
	}
	f.logs.err = fmt.Errorf("query logs: %w: %w", logs.ErrThrottled, &azcore.ResponseError{StatusCode: 429})
	_, err := f.ContainerLogs(t.Context(), id, api.LogOptions{Stdout: true, Tail: -1})
	got, ok := errors.AsType[*api.Error](err)
	if !ok || got.Kind != api.Unavailable || got.RetryAfter != 30*time.Second ||
		!strings.HasPrefix(got.Message, "cannot read the logs of container web: Azure throttles the daemon's requests") {
		t.Errorf("got %+v", err)
	}
}
