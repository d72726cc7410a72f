package invoker

import (
	"errors"
	"time"
)

// Kind says which of the ways an invocation can fail this one was. A kind never says that the command failed: that is a Result.
type Kind string

// The kinds of an Error.
const (
	// KindNetwork: the app's host name could not be resolved, nothing listened there, or TLS failed. The run did not start, unless Message says otherwise.
	KindNetwork Kind = "network"
	// KindUnauthorized: 401, from the app although its host key was read anew, or from Azure Resource Manager (also 403). The run did not start.
	KindUnauthorized Kind = "unauthorized"
	// KindNotFound: 404. The app is not there, or it has no function that answers POST /api/run. The run did not start.
	KindNotFound Kind = "not_found"
	// KindHostError: an answer that a working app does not give, such as an early 502 or an unknown protocol version. The run may have started.
	KindHostError Kind = "host_error"
	// KindNotReady: the app still was not up, or too busy, after Config.ReadyTimeout. The run did not start, unless an image's own handler
	// has answered 429 or 503 itself.
	KindNotReady Kind = "not_ready"
	// KindCut: Azure or the client cut the answer (230 s) and the image's own handler cannot be asked how the run went on.
	KindCut Kind = "cut"
	// KindLost: azf-handler was restarted and does not know the run any more, or does not answer any more. The run started; its end is unknown.
	KindLost Kind = "lost"
)

// Error is why Run could not say how a run ended. Message tells what to do. An Error holds no host key.
type Error struct {
	Kind    Kind
	App     string
	Message string
	// Err is the cause, or nil.
	Err error
	// Foreign tells that the run was sent to an image that holds a handler of its own, not azf-handler.
	Foreign bool

	// again marks an error that time may cure: nothing has started, so try once more, not before after.
	again bool
	after time.Duration
}

func (e *Error) Error() string {
	s := "function app " + e.App + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// MayHaveRun tells whether the command may have run although the error hides how it ended.
func (e *Error) MayHaveRun() bool {
	return e.Kind == KindHostError || e.Kind == KindCut || e.Kind == KindLost || e.Kind == KindNetwork
}

// KindOf returns the kind of the Error in err's chain, or "" when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}
