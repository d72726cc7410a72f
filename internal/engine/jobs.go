package engine

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

// The jobs. Each reads the store first and does nothing when its work is done, so it may run any number of times. A job
// that returns an error runs again. A job that Azure or Terraform refuses returns no error: it records the refusal and
// completes.

type provisionArgs struct {
	ContainerID string `json:"container_id"`
}

func (provisionArgs) Kind() string { return "provision" }

type invokeArgs struct {
	RunID string `json:"run_id"`
}

func (invokeArgs) Kind() string { return "invoke" }

type destroyArgs struct {
	ContainerID string `json:"container_id"`
}

func (destroyArgs) Kind() string { return "destroy" }

// maxAttempts is out of reach, because work would be lost with a job that the queue gives up.
const maxAttempts = 10_000

func insertOpts(args river.JobArgs) river.InsertOpts {
	queue := terraformQueue
	switch args.(type) {
	case invokeArgs:
		queue = invocationQueue
	case createPlanArgs, destroyPlanArgs:
		queue = planQueue
	}
	return river.InsertOpts{
		Queue: queue, MaxAttempts: maxAttempts, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: unfinished},
	}
}

// enqueue inserts a job in the store's transaction, unless the same job is there and unfinished. It sets id to the id
// of the inserted or the existing job.
func (e *Engine) enqueue(args river.JobArgs, id *int64) store.InTx {
	opts := insertOpts(args)
	return func(ctx context.Context, tx *sql.Tx) error {
		// The origin is in the metadata, since the arguments decide which jobs are the same.
		if origin, ok := api.OriginOf(ctx); ok {
			metadata, err := json.Marshal(map[string]api.Origin{originKey: origin})
			if err != nil {
				return fmt.Errorf("enqueue %s: %w", args.Kind(), err)
			}
			opts.Metadata = metadata
		}
		inserted, err := e.river.InsertTx(ctx, tx, args, &opts)
		if err != nil {
			return fmt.Errorf("enqueue %s: %w", args.Kind(), err)
		}
		*id = inserted.Job.ID
		return e.wake(ctx, tx, opts.Queue)
	}
}

// insert inserts a job in a transaction of its own. inserted is false when the same job is there and unfinished.
func (e *Engine) insert(ctx context.Context, args river.JobArgs, opts river.InsertOpts) (inserted bool, err error) {
	res, err := e.river.Insert(ctx, args, &opts)
	if err != nil {
		return false, fmt.Errorf("enqueue %s: %w", args.Kind(), err)
	}
	if e.listener != nil {
		e.listener.wake(opts.Queue)
	}
	return !res.UniqueSkippedAsDuplicate, nil
}

// originKey is the key of a job's origin in its metadata.
const originKey = "origin"

// originOf returns where a job comes from. It is the daemon's own one if an earlier release inserted it.
func originOf(job *rivertype.JobRow) api.Origin {
	var metadata struct{ Origin api.Origin }
	if err := json.Unmarshal(job.Metadata, &metadata); err != nil || metadata.Origin.Requester.Kind == "" {
		return api.Origin{Requester: api.Requester{Kind: api.RequesterDaemon, Cause: "unknown"}}
	}
	return metadata.Origin
}

// forJob returns the context and the log of a job's work for a container.
func (e *Engine) forJob(
	ctx context.Context, job *rivertype.JobRow, containerID string,
) (context.Context, zerolog.Logger) {
	origin := originOf(job)
	log := e.cfg.Log.With().Str("container_id", containerID).Int64("job_id", job.ID).
		Stringer("requester", origin.Requester)
	if origin.Request != nil {
		log = log.Str("request_id", origin.Request.ID)
	}
	return api.WithOrigin(ctx, origin), log.Logger()
}

// forPlanJob is forJob for a service plan.
func (e *Engine) forPlanJob(
	ctx context.Context, job *rivertype.JobRow, p store.ServicePlan,
) (context.Context, zerolog.Logger) {
	origin := originOf(job)
	log := e.cfg.Log.With().Str("service_plan", p.Name).Int64("job_id", job.ID).Stringer("requester", origin.Requester)
	return api.WithOrigin(ctx, origin), log.Logger()
}

func (e *Engine) enqueueDestroy(containerID string) store.InTx {
	return e.enqueue(destroyArgs{ContainerID: containerID}, new(int64))
}

// completed completes a job in the transaction of the job's change. From then on the next job of this kind may be
// inserted for the same container.
func completed[T river.JobArgs](job *river.Job[T]) store.InTx {
	return func(ctx context.Context, tx *sql.Tx) error {
		done, err := river.JobCompleteTx[riverdriver.Driver[*sql.Tx]](ctx, tx, job)
		if err != nil {
			return fmt.Errorf("complete job %d: %w", job.ID, err)
		}
		// Only a Terraform operation may be repeated. The result of a run is known once, so it is recorded anyway.
		if done.State != rivertype.JobStateCompleted && job.Queue != invocationQueue {
			return fmt.Errorf("complete job %d: it is %s, so another daemon has taken it over", job.ID, done.State)
		}
		return nil
	}
}

// ended completes a job, as completed does, with its outcome for the requests that wait for the job. err is nil when
// the job succeeded. calls returns the correlation ids of its Azure calls.
//
// The outcome is the job's recorded output. River's usual way, RecordOutput, also stores the output of an attempt
// whose transaction fails, and a later attempt that completes without an outcome would keep that output. JobUpdateTx
// writes the output in the transaction that completes the job: either both are stored or neither is.
func ended[T river.JobArgs](job *river.Job[T], calls func() []string, err *api.Error) store.InTx {
	output := &river.JobUpdateParams{Output: store.Outcome{Err: err, Correlations: calls()}}
	complete := completed(job)
	return func(ctx context.Context, tx *sql.Tx) error {
		if _, err := river.ClientFromContext[*sql.Tx](ctx).JobUpdateTx(ctx, tx, job.ID, output); err != nil {
			return fmt.Errorf("record outcome of job %d: %w", job.ID, err)
		}
		return complete(ctx, tx)
	}
}

// keptAsDead ends the message of a failure that leaves resources behind.
const keptAsDead = ". The container is kept as dead, and the daemon will retry its removal: " +
	"fix the cause, or remove it by hand"

type destroyWorker struct {
	river.WorkerDefaults[destroyArgs]
	engine *Engine
}

// Work destroys the container's function app and forgets the container. When that fails, it keeps the container as dead
// with the error.
func (w *destroyWorker) Work(ctx context.Context, job *river.Job[destroyArgs]) error {
	e, id := w.engine, job.Args.ContainerID
	ctx, log := e.forJob(ctx, job.JobRow, id)
	c, due, err := e.cfg.Store.Due(ctx, id, store.Removing, completed(job))
	if err != nil || !due {
		return err
	}
	ctx, calls := collect(ctx)
	if wasAskedFor(c) {
		ctx = withPurpose(ctx, askedRemoval)
	}
	operation, err := e.destroyApp(ctx, c.ServicePlan, c.ID, c.ResourceID, true)
	api.Correlated(ctx, operation.CorrelationID)
	if later := snoozed(err); later != nil {
		return later
	}
	switch {
	case err == nil:
		if err := e.cfg.Store.Delete(ctx, id, ended(job, calls, nil)); err != nil {
			return err
		}
		e.cfg.Invoker.Forget(e.target(c))
		log.Info().Str("function_app", c.FunctionApp).Msg("container removed")
		return nil
	case ctx.Err() != nil:
		return e.cfg.Settings.secretsOf(c).Seal(err)
	case refusal(err):
		refused := e.refused(ctx, "remove container "+c.Name, c, err)
		refused.Message += kept
		log.Warn().Err(refused).AnErr("cause", refused.Err).Msg("the removal was refused")
		return e.cfg.Store.Keep(ctx, id, ended(job, calls, refused))
	default:
		refused := e.refused(ctx, "remove container "+c.Name, c, err)
		log.Error().Err(refused).AnErr("cause", refused.Err).Func(correlations(calls())).Msg("remove failed")
		reason := refused.Message
		refused.Message += keptAsDead
		return e.cfg.Store.Fail(ctx, id, reason, e.cfg.RetryAfter, ended(job, calls, refused))
	}
}

// wasAskedFor reports whether a client has asked for the removal of a container that is being removed. Otherwise it is
// what a failed create has left, nobody has learned of it, or it removes itself after its run, which policies have seen
// with the create.
func wasAskedFor(c store.Container) bool {
	unknown := c.Lost() && c.Unnamed
	removesItself := c.HostConfig.AutoRemove && !c.Finished.IsZero()
	return c.ResourceID != "" && !unknown && !removesItself
}

type invokeWorker struct {
	river.WorkerDefaults[invokeArgs]
	engine *Engine
}

// Work calls the function app and records the end of the run.
func (w *invokeWorker) Work(ctx context.Context, job *river.Job[invokeArgs]) error {
	e := w.engine
	run, err := e.cfg.Store.Run(ctx, job.Args.RunID)
	if api.KindOf(err) == api.NotFound || (err == nil && !run.Finished.IsZero()) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := e.cfg.Store.Container(ctx, run.ContainerID)
	if err != nil {
		return err
	}
	ctx, log := e.forJob(ctx, job.JobRow, c.ID)
	log = log.With().Str("run_id", run.ID).Logger()
	ctx, calls := collect(ctx)
	runCtx, end := e.untilEnded(ctx, run)
	defer end()
	answer, err := e.cfg.Invoker.Run(runCtx, e.target(c), invoker.Request{
		RunID: run.ID, Traceparent: traceparent(run), Timeout: e.cfg.Settings.Timeout,
		Resume: !run.Sent.IsZero(), Handler: c.HasHandler,
		BeforeStart: func(ctx context.Context) error { return e.cfg.Store.Sent(ctx, run.ID, true) },
		NotStarted: func(ctx context.Context) {
			if err := e.cfg.Store.Sent(context.WithoutCancel(ctx), run.ID, false); err != nil {
				log.Warn().Err(err).Msg("cannot record that the run was not started: if this daemon ends now, no daemon starts it")
			}
		},
	})
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(runCtx), errStopping) {
		return errStopping // the next daemon joins the run
	}
	hide := e.cfg.Settings.secretsOf(c)
	if err != nil && ctx.Err() != nil {
		return hide.Seal(err)
	}
	result := store.Result{
		ExitCode: answer.ExitCode, Error: answer.Error, Started: answer.StartedAt,
		Output: logLines(answer), Truncated: answer.Truncated, Handler: answer.Protocol,
	}
	if err != nil {
		result = e.lookUp(ctx, c, run, err)
	}
	result.Error = hide.Hide(result.Error)
	log.Info().Int("exit_code", result.ExitCode).Str("error", result.Error).Func(correlations(calls())).Msg("run finished")
	return e.cfg.Store.Finish(ctx, run.ID, result, completed(job), e.enqueueDestroy)
}

// logLines returns the output in an answer. The response body of an image's own handler is the run's stdout. When the
// body is empty, the printed lines are the output, and only Log Analytics has them. An empty slice that is not
// nil means that the run printed nothing.
func logLines(answer invoker.Result) []api.LogLine {
	var out []api.LogLine
	if answer.Protocol && !answer.Truncated {
		out = []api.LogLine{}
	}
	for _, l := range answer.Lines {
		line := api.LogLine{Time: l.Time, Stream: api.Stdout, Text: l.Text, Bytes: l.Bytes, Ending: l.Ending}
		if l.Stream == protocol.Stderr {
			line.Stream = api.Stderr
		}
		if answer.Protocol {
			line.Seq, line.Continues = l.Seq, l.Continues
		}
		o := l.Omitted
		if o != nil && o.Stdout >= 0 && o.Stderr >= 0 && o.Stdout+o.Stderr > 0 && o.Stdout+o.Stderr <= l.Seq {
			line.Omitted = &api.OmittedLines{Stdout: o.Stdout, Stderr: o.Stderr}
		}
		out = append(out, line)
	}
	if len(out) == 0 && len(answer.Body) > 0 {
		for content := range bytes.Lines(answer.Body) {
			l := protocol.LineOf(content)
			out = append(out, api.LogLine{
				Time: answer.FinishedAt, Stream: api.Stdout, Text: l.Text, Bytes: l.Bytes, Ending: l.Ending,
			})
		}
	}
	return out
}

func (e *Engine) target(c store.Container) invoker.Target {
	return invoker.Target{ResourceGroup: e.cfg.Settings.ResourceGroup, App: c.FunctionApp, HostName: c.HostName}
}
