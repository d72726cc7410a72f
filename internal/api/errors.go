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

// Error is an error for the user: a kind, a sentence that advises the user, and a cause for the log.
type Error struct {
	Kind    Kind
	Message string
	Err     error
	// RetryAfter is the delay after which a client may send an Unavailable request again; 0 means unknown.
	RetryAfter time.Duration
	// CorrelationID and RequestID are Azure's ids of the failed call. The Activity Log has the CorrelationID. Each is
	// empty when Azure was not called or did not return it.
	CorrelationID string
	RequestID     string
}

// Error returns the sentence alone; the cause is for the log.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error. The operand of a %w in format becomes its cause.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of the outermost Error in err's chain, or Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// NotSupported returns the error for a capability that Azure Functions lacks: "This backend (azf) does not support
// <capability>."
func NotSupported(capability string) *Error {
	return Errorf(NotImplemented, "This backend (azf) does not support %s.", capability)
}

// NeedsExec returns the error for exec and attach, which names the backends that support them.
func NeedsExec(capability string) *Error {
	return Errorf(NotImplemented, "This backend (azf) does not support %s. "+
		"CI runners require exec-capable backends (ecs, cloudrun, aca, docker).", capability)
}

// AfterRefusedAttach says what becomes of a container that was created to be attached to, and that removes itself or
// does not.
func AfterRefusedAttach(name string, autoRemove bool) string {
	if autoRemove {
		return fmt.Sprintf("The container %s is removed, as it would have been after its run.", name)
	}
	return fmt.Sprintf(
		"The container is kept as %[1]s: \"docker start %[1]s\" starts it, \"docker rm %[1]s\" removes it.", name)
}
