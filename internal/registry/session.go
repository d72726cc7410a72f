package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/api"
)

// Session reaches one registry with credentials, for callers that fetch and push layers. Only the caller's contexts
// bound its calls. It is safe for concurrent use and needs no closing.
type Session struct{ s *session }

// Open returns a Session for ref's registry, with the credentials that Resolve would use. It sends nothing.
func (c *Client) Open(ref reference.Named, auth api.AuthConfig) (*Session, error) {
	repository, err := name.NewRepository(ref.Name())
	if err != nil {
		return nil, api.Errorf(api.InvalidParameter, "invalid reference format: %w", err)
	}
	s, err := c.open(reference.Domain(ref), repository.Registry, auth)
	if err != nil {
		return nil, err
	}
	return &Session{s}, nil
}

// Options returns the options for calls of go-containerregistry: context, credentials, transport and retries.
func (s *Session) Options(ctx context.Context) []remote.Option { return s.s.options(ctx) }

// Transport returns the transport of Options. A transport that takes its place must send requests through it.
func (s *Session) Transport() http.RoundTripper { return s.s.guard }

// Image returns the image of a platform (as for Resolve, and never empty) that ref names. Its layers are fetched when
// they are read. The options follow Options. Errors are those of Resolve.
func (s *Session) Image(
	ctx context.Context, ref reference.Named, platform string, options ...remote.Option,
) (v1.Image, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	parsed, err := name.ParseReference(ref.String())
	if err != nil {
		return nil, api.Errorf(api.InvalidParameter, "invalid reference format: %w", err)
	}
	_, img, err := s.s.image(ctx, parsed, reference.FamiliarString(ref), want, options...)
	if err != nil {
		return nil, s.PullError(ctx, ref, err)
	}
	return img, nil
}

// PullError returns the error of a call that reads ref, for the user. It is of Resolve's kinds, or the context's cause.
func (s *Session) PullError(ctx context.Context, ref reference.Named, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.s.pullError(ref, err)
}

// WriteError returns the error of a call that changes a repository, for the user. It is Forbidden when the registry
// denies the change, Unavailable when it gives no usable answer, or the context's cause. doing is the change ("push
// to"), right is the role that the identity needs for it, and client names the identity and may be empty.
func (s *Session) WriteError(
	ctx context.Context, repository reference.Named, doing, right, client string, err error,
) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	te, answered := answerIn(err)
	if !answered || temporary(te) || !denied(te) {
		return s.s.unavailable(err)
	}
	if s.s.identity == nil {
		return api.Errorf(api.Forbidden, "cannot %s %s: %s: the credentials for this registry need the right to do so",
			doing, repository.Name(), s.s.guard.answer(te))
	}
	if client != "" {
		client = " " + client
	}
	return api.Errorf(api.Forbidden, "cannot %s %s: the identity%s needs %s%s",
		doing, repository.Name(), client, right, s.s.anonymously())
}
