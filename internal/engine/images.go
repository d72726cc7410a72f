package engine

import (
	"context"
	"io"

	"github.com/sockerless/backend-azf/internal/api"
)

// ImagePull implements api.Backend.
func (e *Engine) ImagePull(context.Context, string, api.AuthConfig, string) (io.ReadCloser, error) {
	return nil, api.NotSupported("image pull")
}

// ImageInspect implements api.Backend.
func (e *Engine) ImageInspect(context.Context, string) (api.ImageInspectResponse, error) {
	return api.ImageInspectResponse{}, api.NotSupported("image inspect")
}

// ImageTag implements api.Backend.
func (e *Engine) ImageTag(context.Context, string, string, string) error {
	return api.NotSupported("image tag")
}

// ImageList implements api.Backend.
func (e *Engine) ImageList(context.Context, api.ImageListOptions) ([]api.ImageSummary, error) {
	return nil, api.NotSupported("image list")
}

// ImageRemove implements api.Backend.
func (e *Engine) ImageRemove(context.Context, string, bool, bool) ([]api.ImageDeleted, error) {
	return nil, api.NotSupported("image remove")
}

// ImageHistory implements api.Backend.
func (e *Engine) ImageHistory(context.Context, string) ([]api.ImageHistoryItem, error) {
	return nil, api.NotSupported("image history")
}

// ImagePrune implements api.Backend.
func (e *Engine) ImagePrune(context.Context, api.Filters) (api.ImagePruneReport, error) {
	return api.ImagePruneReport{}, api.NotSupported("image prune")
}

// AuthLogin implements api.Backend.
func (e *Engine) AuthLogin(context.Context, api.AuthConfig) (api.AuthResponse, error) {
	return api.AuthResponse{}, api.NotSupported("auth")
}
