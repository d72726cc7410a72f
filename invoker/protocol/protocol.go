// Package protocol is the wire between the daemon's invoker and azf-handler, the custom handler inside an image.
// It holds types and names only, so that the handler stays a small static binary.
//
// A run is started by POST /api/run with a StartRequest. Its id is the client's: a second POST with the same id joins the run
// instead of starting another. The answer is a Run, with status 200 when the run has ended and 202 when it goes on after the
// time the client asked the handler to wait. GET /api/runs/{id}?wait=SECONDS answers the same way, or 404 with an ErrorBody
// when the handler does not know the run. Every answer of azf-handler carries the header Header with the value Version, by
// which a client tells it from an image's own handler.
package protocol

import "time"

// Names on the wire.
const (
	// Header marks each answer of azf-handler.
	Header = "X-Azf-Protocol"
	// Version is Header's value. A client refuses a version it does not know.
	Version = "1"
	// RunIDHeader repeats the run id in the request's headers, for handlers that do not read the body.
	RunIDHeader = "X-Azf-Run-Id"
	// RunPath starts a run.
	RunPath = "/api/run"
	// RunsPath followed by a run id reads one.
	RunsPath = "/api/runs/"
	// MaxWait is the longest wait a client may ask for. It stays below the 230 s after which Azure cuts an HTTP answer.
	MaxWait = 200 * time.Second
)

// App settings that azf-handler reads. Users cannot set names with the prefix AZF_.
const (
	// CommandEnv holds entrypoint and arguments as a JSON array of strings.
	CommandEnv = "AZF_COMMAND"
	// WorkingDirEnv holds the folder the command runs in.
	WorkingDirEnv = "AZF_WORKING_DIR"
	// OutputLimitEnv holds the most bytes of output that are kept of a run, default DefaultOutputLimit.
	OutputLimitEnv = "AZF_OUTPUT_LIMIT"
)

// DefaultOutputLimit is how many bytes of a run's output the handler keeps for its answer.
const DefaultOutputLimit = 1 << 20

// StartRequest is the body of POST RunPath.
type StartRequest struct {
	RunID string `json:"run_id"`
	// TimeoutSeconds ends the command with TERM, then KILL. 0 means no limit of the handler's own.
	TimeoutSeconds int `json:"timeout_seconds"`
	// WaitSeconds is how long the handler may hold the answer back for the run to end.
	WaitSeconds int `json:"wait_seconds"`
}

// Run is what the handler knows of one run.
type Run struct {
	RunID string `json:"run_id"`
	// Done tells whether the run has ended; the fields below ExitCode are set then.
	Done bool `json:"done"`
	// ExitCode is the command's: 128+n for a signal n, 124 for a time-out, 126 when the command could not be executed, 127 when it was not found.
	ExitCode int `json:"exit_code"`
	// Error says why there is no ordinary exit code, else it is empty.
	Error      string    `json:"error,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// Lines is the captured output in order, head and tail when it was larger than the limit.
	Lines []Line `json:"lines,omitempty"`
	// Truncated tells that lines between head and tail are missing; one line, with Omitted set, marks where.
	Truncated bool `json:"truncated,omitempty"`
}

// Stream names of a Line.
const (
	Stdout = "out"
	Stderr = "err"
	// End is that of the last line that is printed of a run: its text is the exit code, and its number follows the last one's. It
	// is in no Run.
	End = "end"
)

// Line is one line of output without its line feed. The handler also prints each as JSON on its own stdout or stderr, where
// the Functions host picks it up for Application Insights.
type Line struct {
	// RunID is set on printed lines only; in a Run it would say the same on each line.
	RunID  string `json:"run,omitempty"`
	Stream string `json:"s"`
	// Seq counts the lines of a run from 1 over both streams.
	Seq int `json:"seq"`
	// Time is in units of 100 ns, as Log Analytics keeps times.
	Time time.Time `json:"t"`
	Text string    `json:"m"`
	// Omitted is set on the line of a Run that stands for lines that are left out: those up to its own Seq. Its Time is that of the
	// line behind them.
	Omitted *Omitted `json:"omitted,omitempty"`
}

// Omitted is how many lines of each stream are left out at one place.
type Omitted struct {
	Stdout int `json:"out"`
	Stderr int `json:"err"`
}

// OmittedText is the text of a line that stands for so many others.
const OmittedText = "[azf-handler: %d lines are left out here]"

// ErrorBody is the body of an answer that is not a Run.
type ErrorBody struct {
	Message string `json:"message"`
}
