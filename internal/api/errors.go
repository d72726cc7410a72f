package api

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error by what a client can do about it.
type Kind int

// Kinds of error, after Docker's. The zero Kind is Internal.
const (
	Internal Kind = iota
	InvalidParameter
	NotFound
	Conflict
	NotModified
	NotImplemented
	Unavailable
	Forbidden
	Unauthorized
)

// Error is an error for the user: a kind, a sentence that says what to do, and a cause for the log.
type Error struct {
	Kind    Kind
	Message string
	Err     error
	// RetryAfter is when an Unavailable request is worth sending again; 0 means that nobody knows.
	RetryAfter time.Duration
	// CorrelationID and RequestID are Azure's names of the call that failed, the first of them as in the Activity Log. Each is
	// empty when Azure was not called or did not say.
	CorrelationID string
	RequestID     string
}

// Error is the sentence alone; the cause is for the log.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error. A %w in format becomes its cause.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf is the kind of the outermost Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// NotSupported is the error for what Azure Functions cannot do: "This backend (azf) does not support <capability>."
func NotSupported(capability string) *Error {
	return Errorf(NotImplemented, "This backend (azf) does not support %s.", capability)
}

// NeedsExec is the error for exec and attach, which names the backends that have them.
func NeedsExec(capability string) *Error {
	return Errorf(NotImplemented, "This backend (azf) does not support %s. CI runners require exec-capable backends (ecs, cloudrun, aca, docker).", capability)
}
