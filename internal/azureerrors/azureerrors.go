// Package azureerrors explains the errors of Azure, Terraform and the daemon's own machine: it classifies an error,
// adds what to do about it, and hides the secrets in its message. The table of causes is in causes.go, the forms of
// secrets are in secrets.go. The package must not know of containers, jobs or a database.
//
//	hide := azureerrors.NewSecrets(password)
//	err = azureerrors.Explain("create container web", "alpine:3", hide, err)
package azureerrors

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
)

// Headers of Azure's responses that identify a call.
const (
	correlationHeader = "X-Ms-Correlation-Request-Id"
	requestHeader     = "X-Ms-Request-Id"
)

// CorrelationID returns the id under which Azure's Activity Log has the call that was answered with this header. A call
// without one, such as a query of Log Analytics, has its request id instead. The result is empty if there is neither.
func CorrelationID(header http.Header) string {
	if id := header.Get(correlationHeader); id != "" {
		return id
	}
	return header.Get(requestHeader)
}

// Explain returns the error for the client: "cannot DOING: what happened. What to do (ids)". s hides the secrets in its
// message and in the message of its cause, which is err. An *api.Error in err's chain keeps its kind and its message.
// image is the reference that a message about an image names.
func Explain(doing, image string, s Secrets, err error) *api.Error {
	if own, ok := errors.AsType[*api.Error](err); ok {
		out := *own
		out.Message, out.Err = "cannot "+doing+": "+s.Hide(own.Message), s.Seal(err)
		return &out
	}
	f := failureOf(s, err)
	row, positions, text := f.cause(err)
	reason, message := f.whole, row.message
	if row.form != nil {
		reason, message = reasonIn(text), string(row.form.ExpandString(nil, row.message, text, positions))
	}
	reason = strings.TrimSuffix(shorten(reason), ".")
	message = strings.NewReplacer("{reason}", reason, "{image}", image, "{dir}", f.dir).Replace(message)
	out := &api.Error{
		Kind: row.kind, Message: "cannot " + doing + ": " + message + ids(f.correlation, f.request), Err: s.Seal(err),
		CorrelationID: f.correlation, RequestID: f.request,
	}
	if row.retryAfter > 0 {
		out.RetryAfter = row.retryAfter
		if f.retryAfter > 0 {
			out.RetryAfter = f.retryAfter
		}
	}
	return out
}

// ids returns the ids of a call as the end of a message.
func ids(correlation, request string) string {
	switch {
	case correlation != "" && request != "":
		return " (correlation id " + correlation + ", request id " + request + ")"
	case correlation != "":
		return " (correlation id " + correlation + ")"
	case request != "":
		return " (request id " + request + ")"
	}
	return ""
}

// maxReason bounds Azure's message in an explanation, in characters. The log has the whole message.
const maxReason = 1000

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxReason {
		return string(runes[:maxReason]) + "…"
	}
	return text
}

// fold returns text on one line, without the frame that Terraform draws around errors.
func fold(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return strings.ContainsRune(" \t\r\n\v\f\u00a0│╷╵", r)
	}), " ")
}
