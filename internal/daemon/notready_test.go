package daemon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// neverUp wants a run to end with 125, because the app does not come up, and returns the reason that it is given.
func (p *playground) neverUp(t *testing.T, name string) string {
	t.Helper()
	p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
	if res.StatusCode != 125 || res.Error == nil {
		t.Fatalf("got %+v", res)
	}
	return res.Error.Message
}

// TestImageWithoutHost has an image that somebody took for one that runs anywhere.
func TestImageWithoutHost(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.ReadyTimeout = time.Second })
	img, err := appimage.Build(map[string]appimage.File{"/bin/app": {Content: []byte("x"), Mode: 0o755}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	image := p.pushImage(t, "plain", img)
	want := "image " + image + " sets no AzureWebJobsScriptRoot, so it seems to hold no Functions host"
	var created api.CreateResponse
	req := api.CreateRequest{Config: &api.Config{Image: image}}
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if len(created.Warnings) != 1 || !strings.HasPrefix(created.Warnings[0], want) {
		t.Errorf("warnings are %q", created.Warnings)
	}
	if got := p.neverUp(t, "web"); !strings.Contains(got, "because the host is not up") || !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.nothingLeft(t)
}
