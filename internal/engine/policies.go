package engine

import (
	"context"
	"errors"

	"github.com/sockerless/backend-azf/internal/azureerrors"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/store"
)

// askPolicies asks the policies about a request for an action, and returns their warnings. c is the container, nil for
// a pull of an image. A refusal is an *api.Error that says what was asked for.
func (e *Engine) askPolicies(ctx context.Context, action string, c *store.Container, image string) ([]string, error) {
	doing, about := "pull "+image, store.Container{}
	if c != nil {
		doing, about = action+" container "+c.Name, *c
	}
	said, err := e.cfg.Gate.Request(ctx, action, c, image, e.cfg.Settings.hiding(about))
	if err == nil || ctx.Err() != nil {
		return said, err
	}
	refused := azureerrors.Explain(doing, "", e.cfg.Settings.secretsOf(about), err)
	if refusal(err) {
		refused.Message += sinceRequested[action]
	}
	e.cfg.Log.Warn().Err(refused).AnErr("cause", refused.Err).Msg("a request was refused")
	return nil, refused
}

// hiding returns what hides the secrets of a container in what its request has said. A label that becomes a tag and an
// argument of the command are shown as they are, as plans show them.
func (s Settings) hiding(c store.Container) func(string) string {
	shown := map[string]bool{}
	tags, _ := s.tags(c)
	for _, value := range tags {
		shown[value] = true
	}
	for _, arg := range command(c) {
		shown[arg] = true
	}
	secrets := s.secretsOf(c)
	return func(text string) string {
		if shown[text] {
			return text
		}
		return secrets.Hide(text)
	}
}

// sinceRequested says what a refused request has changed.
var sinceRequested = map[string]string{
	gate.Create: nothingCreated, gate.Start: ". It was not started", gate.Remove: asBefore,
	gate.Pull: ". It was not pulled",
}

const (
	nothingCreated = ". Nothing was created"
	asBefore       = ". The container is kept as it was"
	// A forced removal has ended the run before there is a plan.
	kept = ". The container is kept"
)

// refusal reports whether an error is that of policies.
func refusal(err error) bool {
	_, ok := errors.AsType[*gate.Refusal](err)
	return ok
}

// policyWarnings returns what an administrator should know of the policies.
func (e *Engine) policyWarnings(ctx context.Context) ([]string, error) {
	var warnings []string
	if p := e.cfg.Gate.Problem(); p != "" {
		warnings = append(warnings, "WARNING: "+p)
	}
	others, err := e.cfg.Store.OtherPolicies(ctx)
	if err != nil {
		return nil, err
	}
	for _, digest := range others {
		if digest == "" {
			digest = "no policies"
		}
		warnings = append(warnings, "WARNING: another daemon on this database has other policies: "+digest)
	}
	return warnings, nil
}
