package engine

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azureerrors"
	"github.com/sockerless/backend-azf/logs"
)

// collect returns a context that collects the correlation ids of the calls under it, and a function that returns
// them. Of the calls through the SDK, it collects the last one.
func collect(ctx context.Context) (context.Context, func() []string) {
	ctx, ids := api.WithCorrelations(ctx)
	ctx, note := captureResponse(ctx)
	return ctx, func() []string {
		note()
		return ids()
	}
}

// captureResponse returns a context for calls through the SDK, and a function that adds the id of the last response to
// ctx's collector.
func captureResponse(ctx context.Context) (context.Context, func()) {
	var resp *http.Response
	return policy.WithCaptureResponse(ctx, &resp), func() {
		if resp != nil {
			api.Correlated(ctx, azureerrors.CorrelationID(resp.Header))
		}
	}
}

// correlations adds ids to a log line, unless there are none.
func correlations(ids []string) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		if len(ids) > 0 {
			line.Strs("azure_correlation_ids", ids)
		}
	}
}

// correlatedLogs adds the ids of its queries to the collector of the request that reads logs.
type correlatedLogs struct{ LogReader }

func (l correlatedLogs) Lines(ctx context.Context, q logs.Query) ([]logs.Line, error) {
	ctx, note := captureResponse(ctx)
	defer note()
	return l.LogReader.Lines(ctx, q)
}
