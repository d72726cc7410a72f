package invoker

import (
	"errors"
	"time"
)

// Kind classifies the failure of an invocation. A failed command is not an Error but a Result.
type Kind string

// The kinds of an Error.
const (
	// KindNetwork: the app's host name could not be resolved, the host refused connections, or TLS failed. The run did
	// not start, unless Message states the opposite.
	KindNetwork Kind = "network"
	// KindUnauthorized: 401 from the app in spite of a host key that was just read, or 401 or 403 from Azure Resource
	// Manager. The run did not start.
	KindUnauthorized Kind = "unauthorized"
	// KindRefused: the app is stopped, or access restrictions, authentication or something else in front of it has
	// refused the request. The run did not start.
	KindRefused Kind = "refused"
	// KindNotFound: 404. The app does not exist, or has no function that answers POST /api/run. The run did not start.
	KindNotFound Kind = "not_found"
	// KindHostError: an answer that a working app does not give, such as an early 502 or an unknown protocol version.
	// The run may have started.
	KindHostError Kind = "host_error"
	// KindNotReady: the app was still not up, or still too busy, after Config.ReadyTimeout. The run did not start,
	// unless an image's own handler has answered 429 or 503.
	KindNotReady Kind = "not_ready"
	// KindCut: Azure cut the answer off after 230 s, and the image's own handler cannot be asked about the run.
	KindCut Kind = "cut"
	// KindLost: azf-handler was restarted and no longer knows the run, or no longer answers. The run started, and its
	// end is unknown.
	KindLost Kind = "lost"
)

// Error is the reason why Run does not know the end of a run. Message advises the user. An Error holds no host key.
type Error struct {
	Kind    Kind
	App     string
	Message string
	// Err is the cause, or nil.
	Err error
	// Foreign reports whether the image has a handler of its own and not azf-handler.
	Foreign bool

	// temporary marks an error after which nothing has started and a retry may succeed, after at least retryAfter.
	temporary  bool
	retryAfter time.Duration
}

func (e *Error) Error() string {
	s := "function app " + e.App + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// MayHaveRun reports whether the command may have run.
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
