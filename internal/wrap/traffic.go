package wrap

import (
	"io"
	"net/http"
	"sync/atomic"
)

// traffic is a transport that counts what one call pushes.
type traffic struct {
	next    http.RoundTripper
	pushed  atomic.Int64 // bytes of blobs and manifests
	mounted atomic.Int64 // blobs
}

// RoundTrip implements http.RoundTripper.
func (t *traffic) RoundTrip(r *http.Request) (*http.Response, error) {
	mounts := r.Method == http.MethodPost && r.URL.Query().Has("mount")
	if (r.Method == http.MethodPatch || r.Method == http.MethodPut) && r.Body != nil {
		counted := *r // a transport must not change its request
		counted.Body = &countedBody{r.Body, &t.pushed}
		r = &counted
	}
	resp, err := t.next.RoundTrip(r)
	if mounts && err == nil && resp.StatusCode == http.StatusCreated {
		t.mounted.Add(1)
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	sum *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Add(int64(n))
	return n, err
}
