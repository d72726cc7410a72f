package invoker

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// front returns the Error for an answer that App Service, or something else in front of the app, has given in place of
// the app, and nil when the answer may be the app's own. It is for answers without azf-handler's header. After each of
// them the run did not start. Where handler is set, the app is known to hold azf-handler, so that any redirect and any
// refusal is of this kind.
//
// The texts are those of App Service's pages: "Error 403 - This web app is stopped." and "Error 403 - Forbidden ... Ip
// Forbidden", the latter with the header x-ms-forbidden-ip
// (learn.microsoft.com/azure/app-service/app-service-ip-restrictions). Authentication of App Service answers 401 or
// redirects to a login (learn.microsoft.com/azure/app-service/overview-authentication-authorization).
func front(t Target, a answer, handler bool) *Error {
	e := &Error{Kind: KindRefused, App: t.App, Err: statusError(a.status)}
	page := strings.ToLower(string(a.body))
	redirect := a.status >= 300 && a.status < 400
	switch {
	case a.status == http.StatusForbidden && strings.Contains(page, "app is stopped"):
		e.Message = "it is stopped: start the function app in the portal or with az functionapp start"
	case a.status == http.StatusForbidden && (a.header.Get("X-Ms-Forbidden-Ip") != "" ||
		strings.Contains(page, "ip forbidden")):
		e.Message = "its access restrictions refuse the daemon's address; allow it"
		if address := a.header.Get("X-Ms-Forbidden-Ip"); address != "" {
			e.Message = "its access restrictions refuse the daemon's address " + address + "; allow it"
		}
	case redirect && isLogin(a.header.Get("Location")),
		a.status == http.StatusUnauthorized && a.header.Get("Www-Authenticate") != "": // the Functions host sends none
		e.Message = "App Service's authentication is switched on and asks for a login; switch it off for this function " +
			"app, since its functions need the host key anyway"
	case !handler:
		return nil
	case redirect:
		e.Message = fmt.Sprintf("something in front of it redirects to %s in place of an answer of azf-handler; check "+
			"proxies and gateways on the way", host(a.header.Get("Location")))
	case a.status >= 400 && a.status < 500:
		e.Message = "something in front of it refused the request, and not azf-handler; check access restrictions, " +
			"authentication, proxies and gateways on the way"
	default:
		return nil
	}
	return e
}

// isLogin reports whether a redirect leads to a login of App Service's authentication.
func isLogin(location string) bool {
	u, err := url.Parse(location)
	return err == nil && (strings.HasPrefix(u.Hostname(), "login.") || strings.HasPrefix(u.Path, "/.auth/login"))
}

// host returns the host of a URL: the rest may hold secrets.
func host(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return "another place"
	}
	return u.Host
}

// otherAnswer is the failure of a request to a known azf-handler that something else has answered. Nobody knows whether
// the handler got the request too.
func otherAnswer(a answer) error {
	return fmt.Errorf("something in front of the app answered in place of azf-handler: %w", statusError(a.status))
}
