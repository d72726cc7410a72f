package engine

import (
	"context"
	"errors"

	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

// lookUp returns the result of a run whose answer was lost because of cause. When the run may have happened, lookUp
// asks Application Insights once. For an image's own handler, the status of the call decides success. For
// azf-handler, only its printed lines do.
func (e *Engine) lookUp(ctx context.Context, c store.Container, run store.Run, cause error) store.Result {
	unknown := store.Result{ExitCode: protocol.ExitUnknown, Error: cause.Error()}
	failed, ok := errors.AsType[*invoker.Error](cause)
	if ok {
		unknown.Error += notReadyCause(c, failed)
	}
	if !ok || !failed.MayHaveRun() {
		return unknown
	}
	id, err := e.logAnalytics(ctx)
	var ended logs.Ended
	if err == nil && id != "" {
		ended, err = e.cfg.Logs.Ended(ctx, logs.EndedQuery{
			WorkspaceID: id, App: c.FunctionApp, RunID: run.ID, OperationID: run.TraceID,
			From: run.Started, To: e.cfg.Store.Now(),
		})
	}
	switch {
	case err != nil:
		e.cfg.Log.Warn().Err(err).Str("run_id", run.ID).Msg("cannot look up the end of a run")
		unknown.Error += "; and Application Insights cannot be asked: " + err.Error()
	case ended.Known:
		return store.Result{ExitCode: ended.ExitCode}
	case ended.Called && failed.Foreign && ended.Success:
		return store.Result{}
	case ended.Called && failed.Foreign:
		return store.Result{ExitCode: 1, Error: "the handler answered status " + ended.Status}
	case ended.Called:
		unknown.Error += "; Application Insights has its call, answered with status " + ended.Status +
			", but not its exit code"
	default:
		unknown.Error += "; Application Insights has nothing of its end so far, so it may not have run at all"
	}
	return unknown
}
