package azuresim

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/azuresim/worker"
)

// Values of Authenticate: what App Service's authentication answers to a client without a login.
const (
	NoAuthentication    = ""
	Return401           = "Return401"
	RedirectToLoginPage = "RedirectToLoginPage"
)

// Authenticate switches App Service's authentication of a function app on or off, as somebody else would by hand.
func (s *Sim) Authenticate(app, unauthenticated string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.siteNamed(app); r != nil {
		r.site.unauthenticated = unauthenticated
	}
}

// serveFunctionHost passes a request for NAME.azurewebsites.net on to the app's host. App Service's front end answers
// for apps that do not exist, do not run, or are not open to the client.
func (s *Sim) serveFunctionHost(w http.ResponseWriter, r *http.Request) {
	app, _ := appOfHost(hostOnly(r.Host))
	host, refuse := s.frontEnd(app, r)
	if refuse != nil {
		refuse(w)
		return
	}
	host.ServeHTTP(w, r)
}

// frontEnd returns the host that answers, or the front end's own answer.
func (s *Sim) frontEnd(app string, rq *http.Request) (host *worker.App, refuse func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.siteNamed(app)
	if r == nil {
		return nil, func(w http.ResponseWriter) {
			w.Header().Set("Connection", "close")
			http.Error(w, "404 Web Site not found.", http.StatusNotFound)
		}
	}
	client := hostOnly(rq.RemoteAddr)
	switch {
	case !truth(object(r.body["properties"])["enabled"]):
		return nil, page(http.StatusForbidden, "Error 403 - This web app is stopped.")
	case !open(r.site.config, client):
		return nil, func(w http.ResponseWriter) {
			w.Header().Set("X-Ms-Forbidden-Ip", client)
			page(http.StatusForbidden, "Error 403 - Forbidden: Ip Forbidden")(w)
		}
	case r.site.unauthenticated == Return401:
		return nil, func(w http.ResponseWriter) {
			w.Header().Set("Www-Authenticate", `Bearer realm="`+hostOnly(rq.Host)+`"`)
			page(http.StatusUnauthorized, "You do not have permission to view this directory or page.")(w)
		}
	case r.site.unauthenticated == RedirectToLoginPage:
		return nil, func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://login.microsoftonline.com/common/oauth2/v2.0/authorize?client_id=easyauth")
			w.WriteHeader(http.StatusFound)
		}
	case r.site.host == nil, s.starves(r):
		return nil, page(http.StatusServiceUnavailable, "Service Unavailable")
	}
	return r.site.host, nil
}

// page answers with one of App Service's HTML pages.
func page(status int, text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		// A client that left reads no answer.
		_, _ = w.Write([]byte("<!DOCTYPE html><html><body><h1>" + text + "</h1></body></html>"))
	}
}

// open reports whether a site's access restrictions admit a client: the first rule by priority that matches its address
// decides, and without one the default action (learn.microsoft.com/azure/app-service/overview-access-restrictions).
func open(config map[string]any, client string) bool {
	rules, _ := config["ipSecurityRestrictions"].([]any)
	rules = slices.Clone(rules)
	priority := func(rule any) float64 {
		n, _ := object(rule)["priority"].(float64)
		return n
	}
	slices.SortStableFunc(rules, func(a, b any) int { return cmp.Compare(priority(a), priority(b)) })
	address, err := netip.ParseAddr(client)
	for _, rule := range rules {
		of := text(object(rule)["ipAddress"])
		prefix, prefixErr := netip.ParsePrefix(of)
		if of == "Any" || err == nil && prefixErr == nil && prefix.Contains(address) {
			return text(object(rule)["action"]) != "Deny"
		}
	}
	return text(config["ipSecurityRestrictionsDefaultAction"]) != "Deny"
}

// appOfHost returns the function app that a host name belongs to.
func appOfHost(host string) (app string, ok bool) {
	return strings.CutSuffix(strings.ToLower(host), appDomain)
}
