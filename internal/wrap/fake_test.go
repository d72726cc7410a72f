package wrap_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// shelf is a registry in whose repositories only those blobs are visible that were uploaded or mounted there. Blobs are
// files. Manifests are accepted after their blobs, as real registries do.
type shelf struct {
	*httptest.Server
	dir       string
	manifests http.Handler

	mu        sync.Mutex
	intercept interceptor
	log       []string        // METHOD PATH?QUERY
	visible   map[string]bool // by REPOSITORY DIGEST
	uploads   int
	made      map[string]made // by digest: blobs that are made when they are read
}

// interceptor gets each request with its number, from 1, and handles it itself by returning true.
type interceptor func(n int, w http.ResponseWriter, r *http.Request) bool

// made is the content of a blob that no file holds.
type made struct {
	size int64
	open func() io.Reader
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{
		dir: t.TempDir(), manifests: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))),
		visible: map[string]bool{}, made: map[string]made{},
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// host returns the name of the registry in references.
func (s *shelf) host() string { return s.Listener.Addr().String() }

// intercepts sets the interceptor; nil removes it.
func (s *shelf) intercepts(i interceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = i
}

// requests returns the log since the last call.
func (s *shelf) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

// matching returns the requests of a form.
func matching(requests []string, form string) (out []string) {
	for _, r := range requests {
		if regexp.MustCompile(form).MatchString(r) {
			out = append(out, r)
		}
	}
	return out
}

// writes is the form of requests that change a registry.
const writes = `^(PUT|POST|PATCH|DELETE) `

var blobPath = regexp.MustCompile(`^/v2/(.+)/blobs/(uploads/|)([^/]*)$`)

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, r.Method+" "+r.URL.RequestURI())
	n, intercept := len(s.log), s.intercept
	s.mu.Unlock()
	if intercept == nil || !intercept(n, w, r) {
		s.handle(w, r)
	}
}

func (s *shelf) handle(w http.ResponseWriter, r *http.Request) {
	blob := blobPath.FindStringSubmatch(r.URL.Path)
	var err error
	switch {
	case blob != nil && blob[2] != "":
		err = s.upload(w, r, blob[1], blob[3])
	case blob != nil:
		err = s.blob(w, r, blob[1], blob[3])
	case r.Method == http.MethodPut && types.MediaType(r.Header.Get("Content-Type")).IsImage():
		err = s.putManifest(w, r)
	default:
		s.manifests.ServeHTTP(w, r)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		refuse(w, http.StatusBadRequest, "UNKNOWN", err.Error())
	}
}

func (s *shelf) upload(w http.ResponseWriter, r *http.Request, repository, id string) error {
	query := r.URL.Query()
	at := filepath.Join(s.dir, "upload-"+id)
	switch r.Method {
	case http.MethodPost:
		if s.sees(query.Get("from"), query.Get("mount")) {
			s.show(repository, query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
			return nil
		}
		s.mu.Lock()
		s.uploads++
		id = fmt.Sprint(s.uploads)
		s.mu.Unlock()
	case http.MethodPatch:
		f, err := os.Create(at)
		if err != nil {
			return err
		}
		if _, err = io.Copy(f, r.Body); errors.Join(err, f.Close()) != nil {
			return err
		}
	case http.MethodPut:
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != query.Get("digest") {
			return fmt.Errorf("the content is %s", got)
		}
		if err := os.Rename(at, filepath.Join(s.dir, query.Get("digest"))); err != nil {
			return err
		}
		s.show(repository, query.Get("digest"))
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+id)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *shelf) blob(w http.ResponseWriter, r *http.Request, repository, digest string) error {
	if !s.sees(repository, digest) {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob here")
		return nil
	}
	if m, ok := s.made[digest]; ok {
		w.Header().Set("Content-Length", fmt.Sprint(m.size))
		if r.Method == http.MethodGet {
			_, err := io.Copy(w, m.open())
			return err
		}
		return nil
	}
	http.ServeFile(w, r, filepath.Join(s.dir, digest))
	return nil
}

func (s *shelf) putManifest(w http.ResponseWriter, r *http.Request) error {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	manifest, err := v1.ParseManifest(strings.NewReader(string(content)))
	if err != nil {
		return err
	}
	repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	for _, d := range append(manifest.Layers, manifest.Config) {
		if !s.sees(repository, d.Digest.String()) {
			refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", d.Digest.String())
			return nil
		}
	}
	r.Body = io.NopCloser(strings.NewReader(string(content)))
	s.manifests.ServeHTTP(w, r)
	return nil
}

func (s *shelf) sees(repository, digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visible[repository+" "+digest]
}

func (s *shelf) show(repository, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visible[repository+" "+digest] = true
}

// refuse answers with an error in the form of the specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	diagnostic := map[string]string{"code": code, "message": message}
	if err := json.NewEncoder(w).Encode(map[string]any{"errors": []any{diagnostic}}); err != nil {
		panic(err)
	}
}

// filesIn returns the names of the files in a folder.
func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
