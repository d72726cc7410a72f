package azuresim

import (
	"net/http"
	"strings"
	"time"
)

// A service is the part of Azure that a call is addressed to.
type service string

const (
	resourceManager service = "arm"
	entra           service = "entra"
	metadata        service = "metadata"
	logAnalytics    service = "loganalytics"
	functionHost    service = "host"
	imageRegistry   service = "registry"
	blobStorage     service = "blob"
	inspection      service = "inspection"
)

func serviceOf(r *http.Request) service {
	if _, ok := appOfHost(hostOnly(r.Host)); ok {
		return functionHost
	}
	if isPrivateRegistry(hostOnly(r.Host)) {
		return imageRegistry
	}
	if strings.HasSuffix(hostOnly(r.Host), blobSuffix) {
		return blobStorage
	}
	path := strings.ToLower(r.URL.Path)
	for _, p := range []struct {
		prefix  string
		service service
	}{
		{"/v2/", imageRegistry},
		{"/azuresim/", inspection},
		{"/metadata/", metadata},
		{logsPath + "/", logAnalytics},
		{"/subscriptions/", resourceManager},
		{"/providers/", resourceManager},
	} {
		if strings.HasPrefix(path, p.prefix) {
			return p.service
		}
	}
	for _, part := range []string{"/oauth2/", "/.well-known/", "/discovery/"} {
		if strings.Contains(path, part) {
			return entra
		}
	}
	return resourceManager // which names unknown routes in its refusals
}

// serve answers r without faults other than delay. A write of a site spends the delay while it has its
// service plan's lock.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request, service service, delay time.Duration, f Faults) {
	if service == resourceManager {
		s.serveARM(w, r, delay, f)
		return
	}
	if delay > 0 {
		s.cfg.Sleep(r.Context(), delay)
	}
	switch service {
	case functionHost:
		s.serveFunctionHost(w, r)
	case logAnalytics:
		s.serveLogAnalytics(w, r)
	case metadata:
		s.serveMetadata(w, r)
	case entra:
		s.serveEntra(w, r)
	case blobStorage:
		s.serveBlobs(w, r)
	}
}
