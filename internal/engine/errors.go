package engine

import (
	"context"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azureerrors"
	"github.com/sockerless/backend-azf/store"
)

// refused returns the error for the client: "cannot DOING: what happened. What to do (ids)", without the secrets of
// container c. It adds the ids to the collector of ctx.
func (e *Engine) refused(ctx context.Context, doing string, c store.Container, err error) *api.Error {
	out := azureerrors.Explain(doing, c.Config.Image, e.cfg.Settings.secretsOf(c), err)
	api.Correlated(ctx, out.CorrelationID)
	return out
}

// secretsOf hides the values of a container's environment and the registry's password.
func (s Settings) secretsOf(c store.Container) azureerrors.Secrets {
	values := []string{s.RegistryPassword}
	for _, entry := range c.Config.Env {
		if _, value, ok := strings.Cut(entry, "="); ok {
			values = append(values, value)
		}
	}
	return azureerrors.NewSecrets(values...)
}

// stopAfter is the delay after which a client of a daemon that restarts may ask again.
const stopAfter = 5 * time.Second

// stopError returns an Unavailable error for a daemon that is stopping.
func stopError(format string, args ...any) *api.Error {
	out := api.Errorf(api.Unavailable, format, args...)
	out.RetryAfter = stopAfter
	return out
}
