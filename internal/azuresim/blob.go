package azuresim

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// blobSuffix follows an account's name in the host of its blob endpoint.
const blobSuffix = ".blob.core.windows.net"

// blobs are the containers of the storage account. The keys are CONTAINER and CONTAINER/NAME.
type blobs struct {
	containers map[string]bool
	content    map[string][]byte
	immutable  map[string]bool // containers with an immutability policy
	granted    bool            // the principal has the role Storage Blob Data Contributor
}

// GrantBlobs gives the principal the role Storage Blob Data Contributor on the storage account, or takes it away. It
// does not have it at the start.
func (s *Sim) GrantBlobs(granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.blobs.granted = granted
}

// Blobs returns the blobs by CONTAINER/NAME.
func (s *Sim) Blobs() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]byte{}
	for name, content := range s.state.blobs.content {
		all[name] = content
	}
	return all
}

// SetBlob changes a blob by hand.
func (s *Sim) SetBlob(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.blobs.content[name] = content
}

// SetBlobsImmutable gives a container an immutability policy.
func (s *Sim) SetBlobsImmutable(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.blobs.immutable[container] = true
}

// serveBlobs answers on the account's blob endpoint: the creation of containers, Put Blob and Get Blob of the Blob
// service's REST API.
func (s *Sim) serveBlobs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Ms-Version", r.Header.Get("X-Ms-Version"))
	setRequestIDs(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	status, code, message := s.answerBlob(w, r)
	if code == "" {
		return
	}
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// The client has gone if this fails.
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message})
}

// answerBlob answers a request, or returns a refusal. The caller holds Sim.mu.
func (s *Sim) answerBlob(w http.ResponseWriter, r *http.Request) (status int, code, message string) {
	b := &s.state.blobs
	if account := strings.TrimSuffix(hostOnly(r.Host), blobSuffix); account != s.cfg.StorageAccount {
		return http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist."
	}
	if r.Header.Get("X-Ms-Version") == "" {
		return http.StatusBadRequest, "MissingRequiredHeader",
			"An HTTP header that's mandatory is not specified: x-ms-version"
	}
	// https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
	refused := s.checkToken(r, "https://storage.azure.com", "https://"+s.cfg.StorageAccount+blobSuffix)
	if refused != nil {
		return refused.status, refused.code, refused.message
	}
	if !b.granted {
		return http.StatusForbidden, "AuthorizationPermissionMismatch",
			"This request is not authorized to perform this operation using this permission."
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	name, _, isBlob := strings.Cut(path, "/")
	switch {
	case r.Method == http.MethodPut && !isBlob && r.URL.Query().Get("restype") == "container":
		if b.containers[name] {
			return http.StatusConflict, "ContainerAlreadyExists", "The specified container already exists."
		}
		b.containers[name] = true
		w.WriteHeader(http.StatusCreated)
	case !isBlob || r.Method != http.MethodPut && r.Method != http.MethodGet:
		return http.StatusBadRequest, "UnsupportedHttpVerb", "azuresim does not know " + r.Method + " of " + path
	case !b.containers[name]:
		return http.StatusNotFound, "ContainerNotFound", "The specified container does not exist."
	case r.Method == http.MethodGet:
		content, ok := b.content[path]
		if !ok {
			return http.StatusNotFound, "BlobNotFound", "The specified blob does not exist."
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content) // the client has gone if this fails
	default:
		return b.put(w, r, path)
	}
	return 0, "", ""
}

func (b *blobs) put(w http.ResponseWriter, r *http.Request, path string) (status int, code, message string) {
	if r.Header.Get("X-Ms-Blob-Type") != "BlockBlob" {
		return http.StatusBadRequest, "MissingRequiredHeader",
			"An HTTP header that's mandatory is not specified: x-ms-blob-type"
	}
	_, there := b.content[path]
	if container, _, _ := strings.Cut(path, "/"); there && b.immutable[container] {
		return http.StatusConflict, "BlobImmutableDueToPolicy",
			"This operation is not permitted as the blob is immutable due to a policy."
	}
	if there && r.Header.Get("If-None-Match") == "*" {
		return http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists."
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return http.StatusBadRequest, "InvalidInput", "One of the request inputs is not valid."
	}
	b.content[path] = content
	w.WriteHeader(http.StatusCreated)
	return 0, "", ""
}
