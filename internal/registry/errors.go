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

// pullError is err as its user reads it, in Docker's words. Causes are not wrapped: their texts may hold credentials.
func (s *session) pullError(ref reference.Named, err error) error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	te, answered := answerIn(err)
	switch {
	case answered && !passing(te) && unknown(te):
		return api.Errorf(api.NotFound, "manifest for %s not found: %s", reference.FamiliarString(ref), s.guard.answer(te))
	case answered && !passing(te) && denied(te):
		message := fmt.Sprintf("pull access denied for %s, repository does not exist or may require 'docker login': %s",
			reference.FamiliarName(ref), s.guard.answer(te))
		if s.identity != nil && s.identity.refusal != "" {
			message += " (asked anonymously, as the daemon's identity was no help: " + s.identity.refusal + ")"
		}
		return api.Errorf(api.NotFound, "%s", message)
	default:
		return s.unavailable(err)
	}
}

func (s *session) loginError(err error) error {
	if te, ok := answerIn(err); ok && !passing(te) && denied(te) {
		return api.Errorf(api.Unauthorized, "login to %s failed: %s: check user name and password", s.registry.RegistryStr(), s.guard.answer(te))
	}
	return s.unavailable(err)
}

func (s *session) unavailable(err error) error {
	return api.Errorf(api.Unavailable, "registry %s gives no answer: %s", s.registry.RegistryStr(), s.guard.reason(err))
}

// answerIn is the registry's answer in an error. A failed call to an address that was tried first counts more than an answer at another.
func answerIn(err error) (*transport.Error, bool) {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return errors.AsType[*transport.Error](err)
}

// passing tells whether an answer says nothing of the image, only that now is a bad time.
func passing(te *transport.Error) bool {
	return te.StatusCode >= http.StatusInternalServerError || te.StatusCode == http.StatusTooManyRequests || te.StatusCode == http.StatusRequestTimeout ||
		has(te, transport.TooManyRequestsErrorCode)
}

func unknown(te *transport.Error) bool {
	return has(te, transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode, transport.NameInvalidErrorCode, transport.TagInvalidErrorCode) ||
		te.StatusCode == http.StatusNotFound && te.Request != nil && strings.Contains(te.Request.URL.Path, "/manifests/")
}

func denied(te *transport.Error) bool {
	return te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden ||
		has(te, transport.UnauthorizedErrorCode, transport.DeniedErrorCode)
}

func has(te *transport.Error, codes ...transport.ErrorCode) bool {
	return slices.ContainsFunc(te.Errors, func(d transport.Diagnostic) bool { return slices.Contains(codes, d.Code) })
}

// answer is what a registry answered, as Docker writes it: "manifest unknown: no such tag". The body is shown only where it keeps to the specification.
func (g *guard) answer(te *transport.Error) string {
	var texts []string
	for _, d := range te.Errors {
		text := strings.ToLower(strings.ReplaceAll(string(d.Code), "_", " "))
		if d.Message != "" {
			text += ": " + d.Message
		}
		texts = append(texts, text)
	}
	switch {
	case len(texts) > 0:
		return g.short(strings.Join(texts, "; "))
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

// reason says why there is no answer. Addresses of calls are left out: those that registries redirect to are signed.
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

// short is the beginning of the first line of a text that others wrote, without secrets. What follows in errors of this kind is the content of answers.
func (g *guard) short(text string) string {
	text, _, _ = strings.Cut(g.mask(text), "\n")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "..."
	}
	return strings.TrimSpace(text)
}
