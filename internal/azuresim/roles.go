package azuresim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Deny takes the right to an action away from the service principal, from now on and on everything in the subscription.
// Calls that need it are answered 403 AuthorizationFailed. The action is named as in Azure's role definitions, in any
// case, and * stands for any text: "Microsoft.Storage/storageAccounts/listKeys/action",
// "Microsoft.Web/serverfarms/read", "Microsoft.Insights/*", "Microsoft.ContainerRegistry/registries/push/write". A call
// of Log Analytics has no action; see Rule.
func (s *Sim) Deny(actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, action := range actions {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(action), `\*`, `.*`)
		s.state.denied = append(s.state.denied, regexp.MustCompile(`(?i)^`+pattern+`$`))
	}
}

// Allow gives all rights back.
func (s *Sim) Allow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.denied = nil
}

// denied reports whether the right to an action was taken away.
func (s *Sim) denied(action string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.state.denied, func(denied *regexp.Regexp) bool { return denied.MatchString(action) })
}

// authorize returns the refusal of a call whose action is denied, or nil.
func (s *Sim) authorize(route *route, path []string) *armError {
	action, scope := actionOf(route, path)
	if !s.denied(action) {
		return nil
	}
	return refusal(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the "+
			"scope is invalid. If access was recently granted, please refresh your credentials.",
		s.cfg.ClientID, principalID, action, scope)
}

// actionOf returns the action that Azure's roles grant for a call, and the resource that it is for. The names of types
// are as the route spells them.
func actionOf(route *route, path []string) (action, scope string) {
	verb := map[string]string{
		http.MethodGet: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete",
	}[route.method]
	if verb == "" {
		verb = route.pattern[len(route.pattern)-1] + "/action"
		path = path[:len(path)-1]
	}
	scope = "/" + strings.Join(path, "/")
	parts, kind := route.pattern[:len(path)], []string{"Microsoft.Resources"}
	if at := slices.Index(parts, "providers"); at >= 0 {
		kind, parts = parts[at+1:at+2], parts[at+2:]
	}
	for i := 0; i < len(parts); i += 2 { // types and names take turns
		kind = append(slices.Clip(kind), parts[i])
	}
	return strings.Join(append(slices.Clip(kind), verb), "/"), scope
}
