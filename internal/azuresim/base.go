package azuresim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
)

// baseRepository has the stand-in for Microsoft's base image, under the tag that Microsoft gives it.
const (
	baseRepository = "azure-functions/base"
	baseTag        = "4"
)

// images is the registry, with the base image in it from the first time that someone asks for it: it is as large as a
// program, and few need it.
func (s *Sim) images(registry http.Handler) http.Handler {
	seed := sync.OnceValue(func() error { return s.pushBase(registry) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/"+baseRepository+"/") {
			if err := seed(); err != nil {
				s.log.Error().Err(err).Msg("push base image")
			}
		}
		registry.ServeHTTP(w, r)
	})
}

func (s *Sim) pushBase(registry http.Handler) (err error) {
	program := s.cfg.FunctionsHost
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	img, err := appimage.Base(program)
	if err != nil {
		return err
	}
	return appimage.Push(context.Background(), "localhost/"+baseRepository+":"+baseTag, img, direct{registry})
}

// direct is a transport to a handler in this process.
type direct struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &recorded{header: http.Header{}, status: http.StatusOK}
	d.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Body: io.NopCloser(&w.body), Request: r,
		ContentLength: int64(w.body.Len()), ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// recorded keeps what a handler answers.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorded) Header() http.Header               { return a.header }
func (a *recorded) WriteHeader(status int)            { a.status = status }
func (a *recorded) Write(content []byte) (int, error) { return a.body.Write(content) }
