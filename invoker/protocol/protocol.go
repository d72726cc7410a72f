// Package protocol defines the HTTP protocol between the daemon's invoker and azf-handler, the custom handler
// inside an image. It is the only Go API of this module that is promised to other modules. It holds little more than
// types and names, so that azf-handler stays a small static binary.
//
// POST /api/run with a StartRequest starts a run. The client chooses the id of the run: a second POST with the same
// id joins the run and starts no other. The answer is a Run. Its status is 200 when the run has ended, and 202 when
// the run still goes on after the time that the client asked the handler to wait. GET /api/runs/{id}?wait=SECONDS
// answers the same way, or 404 with an ErrorBody when the handler does not know the run. Every answer of
// azf-handler has the header Header, by which a client distinguishes azf-handler from an image's own handler. A
// request with this header asks for a version, and the answer has that one or the last that azf-handler knows. Without
// it the answer has version 1, because daemons of protocol 1 do not ask.
//
// Version 2 differs from version 1 in what surrounds the requests: azf-handler reads a Spec from its app settings.
package protocol

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// Names on the wire.
const (
	// Header marks each answer of azf-handler. Its value is a number from 1 to Version. A client refuses any other.
	Header = "X-Azf-Protocol"
	// Version is the last version of the protocol.
	Version = "2"
	// Label is the label by which an image says that it holds azf-handler. Its value is the Version of that azf-handler.
	Label = "io.sockerless.azf.handler"
	// RunIDHeader holds the run id in the request's headers as well, for handlers that do not read the body.
	RunIDHeader = "X-Azf-Run-Id"
	// RunPath starts a run.
	RunPath = "/api/run"
	// RunsPath, followed by a run id, reads that run.
	RunsPath = "/api/runs/"
	// MaxWait is the longest wait that a client may ask for. It is shorter than the 230 s after which Azure cuts an HTTP
	// answer off.
	MaxWait = 200 * time.Second
)

// Negotiate returns the version of azf-handler's answer to a request that asks for a version.
func Negotiate(asked string) string {
	if asked == "" || asked == "1" {
		return "1"
	}
	return Version
}

// Known reports whether a version of an answer, or of a Label, is one of this release.
func Known(version string) bool { return version == "1" || version == Version }

// App settings that azf-handler reads, beside those of a Spec. Users cannot set names with the prefix AZF_.
const (
	// CommandEnv holds entrypoint and arguments as a JSON array of strings, for azf-handler of protocol 1. With a Spec it
	// is not read.
	CommandEnv = "AZF_COMMAND"
	// WorkingDirEnv holds the command's working directory, for azf-handler of protocol 1.
	WorkingDirEnv = "AZF_WORKING_DIR"
	// ImageDigestEnv holds the digest of the user's image that a wrapped image must be made of. azf-handler does not start
	// the Functions host of another one.
	ImageDigestEnv = "AZF_IMAGE_DIGEST"
	// OutputLimitEnv holds the limit of a run's captured output in bytes; the default is DefaultOutputLimit.
	OutputLimitEnv = "AZF_OUTPUT_LIMIT"
)

// DefaultOutputLimit is the default limit of a run's captured output in bytes.
const DefaultOutputLimit = 1 << 20

// StartRequest is the body of POST RunPath.
type StartRequest struct {
	RunID string `json:"run_id"`
	// TimeoutSeconds is the time limit after which the handler ends the command with TERM, then KILL. 0 means no limit.
	TimeoutSeconds int `json:"timeout_seconds"`
	// WaitSeconds limits how long the handler may delay the answer to wait for the end of the run.
	WaitSeconds int `json:"wait_seconds"`
}

// Run describes one run.
type Run struct {
	RunID string `json:"run_id"`
	// Done reports whether the run has ended. ExitCode and the fields below it, except StartedAt, are set only then.
	Done bool `json:"done"`
	// ExitCode is the command's exit code: 128+n for a signal n, 124 for a time-out, 126 when the command could not be
	// executed, 127 when it was not found.
	ExitCode int `json:"exit_code"`
	// Error is the reason why there is no ordinary exit code. Otherwise it is empty.
	Error      string    `json:"error,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// Lines is the captured output in order: the head and the tail when the output was larger than the limit.
	Lines []Line `json:"lines,omitempty"`
	// Truncated reports whether lines between head and tail are missing. A line with Omitted set stands in their place.
	Truncated bool `json:"truncated,omitempty"`
}

// Stream names of a Line.
const (
	Stdout = "out"
	Stderr = "err"
	// End is the stream of the last line that the handler prints for a run. The text of that line is the exit code,
	// and its number follows that of the last line of output. A Run does not hold it.
	End = "end"
)

// Line is one line of output without its line feed, or a piece of a line of more than MaxPiece bytes. Pieces have
// numbers of their own. The handler also prints each Line as JSON on its own stdout or stderr, from which the Functions
// host sends it to Application Insights.
type Line struct {
	// RunID is set on printed lines only: all lines of a Run have the same.
	RunID  string `json:"run,omitempty"`
	Stream string `json:"s"`
	// Seq numbers the lines of a run from 1 over both streams.
	Seq int `json:"seq"`
	// Time is a multiple of 100 ns, the resolution of Log Analytics.
	Time time.Time `json:"t"`
	// Text is the content. Where the content is not UTF-8, Text has U+FFFD in place of what is not valid.
	Text string `json:"m"`
	// Bytes is the content where it is not UTF-8, and otherwise empty.
	Bytes []byte `json:"b,omitempty"`
	// Continues is the number of the piece that this piece continues. It is 0 at the beginning of a line.
	Continues int `json:"c,omitempty"`
	// Ending is empty when a line feed follows the content. Otherwise it is EndsWithMore or EndsWithout.
	Ending string `json:"e,omitempty"`
	// Omitted is set on the line of a Run that stands for the omitted lines up to its own Seq. The Time of such a line
	// is that of the line that follows the omitted ones.
	Omitted *Omitted `json:"omitted,omitempty"`
}

// MaxPiece is the largest size of a Line's content in bytes. The JSON of a Line has at most six characters for each of
// these bytes, and the bytes in base64: less than the 32,768 characters that Application Insights keeps of a message.
const MaxPiece = 4 << 10

// Endings of a Line that no line feed follows.
const (
	// EndsWithMore is the ending of a piece that a later Line of its stream continues.
	EndsWithMore = "more"
	// EndsWithout is the ending of the last line of a stream that has no line feed.
	EndsWithout = "none"
)

// Content returns the content, byte for byte.
func (l Line) Content() string {
	if len(l.Bytes) > 0 {
		return string(l.Bytes)
	}
	return l.Text
}

// LineOf returns the Line of output that ends with a line feed or with the output.
func LineOf(output []byte) (l Line) {
	content, terminated := bytes.CutSuffix(output, []byte("\n"))
	l.SetContent(content)
	if !terminated {
		l.Ending = EndsWithout
	}
	return l
}

// SetContent sets Text and Bytes, and keeps no reference to content.
func (l *Line) SetContent(content []byte) {
	l.Text, l.Bytes = string(content), nil
	if !utf8.ValidString(l.Text) {
		l.Text, l.Bytes = strings.ToValidUTF8(l.Text, "\uFFFD"), bytes.Clone(content)
	}
}

// Omitted counts the lines of each stream that are omitted at one place.
type Omitted struct {
	Stdout int `json:"out"`
	Stderr int `json:"err"`
}

// OmittedText is the format of the text of a line that stands for omitted lines; its operand is their number, in which
// each piece counts.
const OmittedText = "[azf-handler: %d lines are left out here]"

// ErrorBody is the body of an answer that is not a Run.
type ErrorBody struct {
	Message string `json:"message"`
}
