package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sockerless/backend-azf/internal/api"
)

// pullError returns err for the user, in Docker's words. It wraps no cause, as the message of a cause may hold
// credentials.
func (s *session) pullError(ref reference.Named, err error) error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	te, answered := answerIn(err)
	switch {
	case answered && !temporary(te) && unknown(te):
		return api.Errorf(api.NotFound, "manifest for %s not found: %s", reference.FamiliarString(ref), s.guard.answer(te))
	case answered && !temporary(te) && denied(te):
		message := fmt.Sprintf("pull access denied for %s, repository does not exist or may require 'docker login': %s",
			reference.FamiliarName(ref), s.guard.answer(te))
		message += s.anonymously()
		return api.Errorf(api.NotFound, "%s", message)
	default:
		return s.unavailable(err)
	}
}

// anonymously says why an identity's request had no token, when that is so.
func (s *session) anonymously() string {
	if s.identity == nil || s.identity.refused() == "" {
		return ""
	}
	return " (asked anonymously, as the daemon's identity was refused: " + s.identity.refused() + ")"
}

func (s *session) loginError(err error) error {
	if te, ok := answerIn(err); ok && !temporary(te) && denied(te) {
		return api.Errorf(api.Unauthorized, "login to %s failed: %s: check user name and password",
			s.registry.RegistryStr(), s.guard.answer(te))
	}
	return s.unavailable(err)
}

func (s *session) unavailable(err error) error {
	return api.Errorf(api.Unavailable, "registry %s gives no answer: %s", s.registry.RegistryStr(), s.guard.reason(err))
}

// answerIn returns the registry's answer in an error. When the client tried two addresses, the failure at the first
// one takes precedence over an answer of the second.
func answerIn(err error) (*transport.Error, bool) {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return errors.AsType[*transport.Error](err)
}

// temporary reports whether an answer is a temporary failure of the registry, which has no information about the
// image.
func temporary(te *transport.Error) bool {
	return te.StatusCode >= http.StatusInternalServerError || te.StatusCode == http.StatusTooManyRequests ||
		te.StatusCode == http.StatusRequestTimeout || has(te, transport.TooManyRequestsErrorCode)
}

// unknown reports whether an answer means that the image does not exist.
func unknown(te *transport.Error) bool {
	if has(te, transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode,
		transport.NameInvalidErrorCode, transport.TagInvalidErrorCode) {
		return true
	}
	return te.StatusCode == http.StatusNotFound && te.Request != nil &&
		strings.Contains(te.Request.URL.Path, "/manifests/")
}

// denied reports whether an answer refuses access.
func denied(te *transport.Error) bool {
	return te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden ||
		has(te, transport.UnauthorizedErrorCode, transport.DeniedErrorCode)
}

func has(te *transport.Error, codes ...transport.ErrorCode) bool {
	return slices.ContainsFunc(te.Errors, func(d transport.Diagnostic) bool { return slices.Contains(codes, d.Code) })
}

// answer returns a registry's answer in Docker's form: "manifest unknown: no such tag". It shows the body only when
// the body is of the specification's form.
func (g *guard) answer(te *transport.Error) string {
	var parts []string
	for _, d := range te.Errors {
		text := strings.ToLower(strings.ReplaceAll(string(d.Code), "_", " "))
		if d.Message != "" {
			text += ": " + d.Message
		}
		parts = append(parts, text)
	}
	switch {
	case len(parts) > 0:
		return g.short(strings.Join(parts, "; "))
	case te.StatusCode == http.StatusNotFound && unknown(te):
		return "manifest unknown"
	case te.StatusCode == http.StatusUnauthorized:
		return "unauthorized"
	case te.StatusCode == http.StatusForbidden:
		return "denied"
	default:
		return fmt.Sprintf("HTTP status %d %s", te.StatusCode, http.StatusText(te.StatusCode))
	}
}

// reason returns the reason for a missing answer. It omits the URLs of requests, as registries redirect to signed
// URLs.
func (g *guard) reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	if te, ok := answerIn(err); ok {
		if te.Request != nil && te.StatusCode == http.StatusNotFound && te.Request.URL.Path == "/v2/" {
			return "it is not a registry: GET /v2/ is not found"
		}
		return g.answer(te)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return g.short(err.Error())
}

// short returns the beginning of the first line of a string from elsewhere, without secrets. The other lines of such
// errors hold the content of answers.
func (g *guard) short(text string) string {
	text, _, _ = strings.Cut(g.mask(text), "\n")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "..."
	}
	return strings.TrimSpace(text)
}
