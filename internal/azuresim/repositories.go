package azuresim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// repositories stands before a registry that shows every blob in every repository. Here a blob is seen where it was
// uploaded or mounted only, and a manifest is taken after its blobs, as registries do
// (github.com/opencontainers/distribution-spec, spec.md).
type repositories struct {
	next http.Handler

	mu   sync.Mutex
	seen map[string]bool              // by REPOSITORY@DIGEST
	tags map[string]map[string]string // digests by repository and tag
}

func newRepositories(next http.Handler) *repositories {
	return &repositories{next: next, seen: make(map[string]bool), tags: make(map[string]map[string]string)}
}

// Paths below /v2/ that concern blobs and manifests.
var (
	blobPath     = regexp.MustCompile(`^/v2/(.+)/blobs/([a-z0-9]+:[0-9a-f]+)$`)
	uploadPath   = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/`)
	manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
)

func (h *repositories) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if m := blobPath.FindStringSubmatch(r.URL.Path); m != nil && !h.sees(m[1], m[2]) {
		refuseBlob(w, http.StatusNotFound, "BLOB_UNKNOWN", m[2])
		return
	}
	if m := uploadPath.FindStringSubmatch(r.URL.Path); m != nil {
		if blob := query.Get("mount"); r.Method == http.MethodPost && blob != "" {
			if h.sees(query.Get("from"), blob) {
				h.show(m[1], blob)
				w.Header().Set("Docker-Content-Digest", blob)
				w.Header().Set("Location", (&url.URL{Path: "/v2/" + m[1] + "/blobs/" + blob}).String())
				w.WriteHeader(http.StatusCreated)
				return
			}
			r = r.Clone(r.Context())
			r.URL.RawQuery = "" // an ordinary upload begins
		}
		// The registry takes one body after the other. One that waits for its turn could use up the connection's flow
		// control, so that the body under way would never end.
		body, err := spool(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		defer func() { _ = body.Close() }() // the file is removed already
		r.Body = body
		status := &statusRecorder{ResponseWriter: w}
		h.next.ServeHTTP(status, r)
		if blob := query.Get("digest"); blob != "" && status.status == http.StatusCreated {
			h.show(m[1], blob)
		}
		return
	}
	m := manifestPath.FindStringSubmatch(r.URL.Path)
	switch {
	case m == nil:
		h.next.ServeHTTP(w, r)
	case r.Method == http.MethodPut:
		if missing, ok := h.complete(m[1], r); !ok {
			refuseBlob(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", missing)
			return
		}
		h.next.ServeHTTP(w, r)
		h.name(m[1], m[2], w.Header().Get("Docker-Content-Digest"))
	case r.Method == http.MethodDelete:
		// With a manifest, its tags go (learn.microsoft.com/azure/container-registry/container-registry-delete).
		for _, tag := range h.tagsOf(m[1], m[2]) {
			also := r.Clone(r.Context())
			also.URL.Path = "/v2/" + m[1] + "/manifests/" + tag
			h.next.ServeHTTP(nowhere{}, also)
		}
		h.next.ServeHTTP(w, r)
	default:
		h.next.ServeHTTP(w, r)
	}
}

// name records what a reference within a repository names, a tag or a digest.
func (h *repositories) name(repository, reference, digest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tags[repository] == nil {
		h.tags[repository] = make(map[string]string)
	}
	if reference != digest {
		h.tags[repository][reference] = digest
	}
}

// tagsOf returns the tags of a manifest, if it is given by its digest.
func (h *repositories) tagsOf(repository, digest string) (tags []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for tag, of := range h.tags[repository] {
		if of == digest {
			tags = append(tags, tag)
		}
	}
	return tags
}

// nowhere is a response that nobody reads.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// spool reads a body into a file without a name, and returns the file.
func spool(body io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "azuresim-upload-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, body)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (h *repositories) sees(repository, blob string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[repository+"@"+blob]
}

func (h *repositories) show(repository, blob string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[repository+"@"+blob] = true
}

// complete reports whether a repository has all blobs of the manifest that a request puts, or which is missing.
func (h *repositories) complete(repository string, r *http.Request) (missing string, ok bool) {
	content, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	r.Body = io.NopCloser(bytes.NewReader(content))
	var manifest v1.Manifest
	if err != nil || json.Unmarshal(content, &manifest) != nil {
		return "", true // the registry says what is wrong with it
	}
	if !types.MediaType(r.Header.Get("Content-Type")).IsImage() {
		return "", true
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if blob.MediaType.IsDistributable() && !h.sees(repository, blob.Digest.String()) {
			return blob.Digest.String(), false
		}
	}
	return "", true
}

func refuseBlob(w http.ResponseWriter, status int, code, blob string) {
	message := strings.ToLower(strings.ReplaceAll(code, "_", " "))
	writeJSON(w, status, map[string]any{"errors": []any{map[string]any{
		"code": code, "message": message, "detail": map[string]string{"digest": blob},
	}}})
}
