package engine

import (
	"context"
	"io"

	"github.com/sockerless/backend-azf/internal/api"
)

// Ready implements api.Backend.
func (e *Engine) Ready(context.Context) error { return nil }

// Version implements api.Backend.
func (e *Engine) Version(context.Context) api.Version { return api.Version{} }

// Info implements api.Backend.
func (e *Engine) Info(context.Context) (api.Info, error) { return api.Info{}, api.NotSupported("info") }

// SystemEvents implements api.Backend.
func (e *Engine) SystemEvents(context.Context, api.EventsOptions) (io.ReadCloser, error) {
	return nil, api.NotSupported("events")
}

// SystemDf implements api.Backend.
func (e *Engine) SystemDf(context.Context) (api.DiskUsage, error) {
	return api.DiskUsage{}, api.NotSupported("system df")
}
