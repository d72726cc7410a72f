package invoker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// armLimit bounds one call to Azure Resource Manager.
	armLimit = time.Minute
	// notFoundGrace is the time during which a 404 of Azure Resource Manager counts as temporary: a new app becomes
	// visible with a delay.
	notFoundGrace = 2 * time.Minute
)

func keyID(t Target) string { return strings.ToLower(t.ResourceGroup + "/" + t.App) }

// Forget drops the host key of an app from memory. Call it when the app is deleted; a later Run reads the key again.
func (i *Invoker) Forget(t Target) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.keys, keyID(t))
}

// forgetKey drops key, unless another Run has replaced it since.
func (i *Invoker) forgetKey(t Target, key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys[keyID(t)] == key {
		delete(i.keys, keyID(t))
	}
}

func (i *Invoker) keptKey(t Target) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[keyID(t)]
}

// key returns the app's host key. Azure Resource Manager forwards the call to the app's host, so the call fails in
// many ways until the host is up.
func (i *Invoker) key(ctx context.Context, t Target, until time.Time) (string, error) {
	key := i.keptKey(t)
	if key != "" {
		return key, nil
	}
	foundBy := i.now().Add(notFoundGrace)
	err := i.retry(ctx, t, until, func() *Error {
		var err error
		if key, err = i.readKey(ctx, t); err == nil {
			return nil
		}
		e := keyError(t, err, i.now().Before(foundBy))
		if e.Kind == KindNotReady {
			// A stopped app has no host that could have a key.
			if refused := i.refused(ctx, t); refused != nil {
				return refused
			}
		}
		return e
	})
	if err != nil {
		return "", err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[keyID(t)] = key
	return key, nil
}

// refused asks the app for anything, and returns the Error when something in front of it refuses that.
func (i *Invoker) refused(ctx context.Context, t Target) *Error {
	a, err := i.call(ctx, t, request{method: http.MethodGet, path: "/", limit: readyLimit}, http.Header{})
	if err != nil {
		return nil
	}
	return front(t, a, false)
}

var errNoKey = errors.New("the host has no function key yet")

func (i *Invoker) readKey(ctx context.Context, t Target) (string, error) {
	ctx, cancel := i.withTimeout(ctx, armLimit)
	defer cancel()
	keys, err := i.web.ListHostKeys(ctx, t.ResourceGroup, t.App, nil)
	if err != nil {
		return "", err
	}
	// The host key named default gives access to every function. The master key would also give access to the admin API.
	if key := keys.FunctionKeys["default"]; key != nil && *key != "" {
		return *key, nil
	}
	return "", errNoKey
}

// keyError returns the Error for a failed ListHostKeys. With young, a 404 is temporary.
func keyError(t Target, err error, young bool) *Error {
	e := &Error{App: t.App, Err: err}
	var final interface{ NonRetriable() } // azcore's mark of an error of the credential
	resp, isResp := errors.AsType[*azcore.ResponseError](err)
	switch {
	case isResp:
		e.Err = armError{resp}
		if resp.RawResponse != nil {
			e.retryAfter = retryAfter(resp.RawResponse.Header)
		}
		switch resp.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			// A role assignment counts after up to ten minutes
			// (learn.microsoft.com/azure/role-based-access-control/troubleshooting).
			e.Kind, e.temporary = KindUnauthorized, resp.StatusCode == http.StatusForbidden
			e.Message = "reading its host key was refused; the daemon's identity needs the action " +
				"Microsoft.Web/sites/host/listkeys/action, which Contributor and Website Contributor include, and a new role " +
				"assignment takes up to ten minutes"
		case http.StatusNotFound:
			e.Kind, e.temporary = KindNotFound, young
			e.Message = "Azure Resource Manager does not know it in resource group " + t.ResourceGroup +
				"; was it deleted outside of the daemon?"
		case http.StatusTooManyRequests:
			e.Kind, e.temporary = KindNotReady, true
			e.Message = "Azure Resource Manager takes no more requests that read host keys for now; " +
				"start fewer containers at a time"
		default:
			e.Kind, e.temporary = KindNotReady, true
			e.Message = "its host key cannot be read because the host is not up; " +
				"look at the container's start-up log in the portal (Log stream)"
		}
	case errors.Is(err, errNoKey):
		e.Kind, e.temporary = KindNotReady, true
		e.Message = "its host key cannot be read; look at the container's start-up log in the portal (Log stream)"
	case errors.As(err, &final):
		e.Kind = KindUnauthorized
		e.Message = "reading its host key needs a token of the daemon's Azure credential; check that credential"
	default:
		e.Kind, e.temporary = KindNetwork, true
		e.Message = "Azure Resource Manager cannot be reached to read its host key; check network and endpoint"
	}
	return e
}

// armError prints a ResponseError in one line. The ResponseError itself prints the whole answer in many lines.
type armError struct{ *azcore.ResponseError }

func (e armError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("list host keys: status %d %s", e.StatusCode, e.ErrorCode))
	if e.RawResponse == nil {
		return text
	}
	var ids []string
	for _, id := range []struct{ name, header string }{
		{"correlation id", "X-Ms-Correlation-Request-Id"}, {"request id", "X-Ms-Request-Id"},
	} {
		if value := e.RawResponse.Header.Get(id.header); value != "" {
			ids = append(ids, id.name+" "+value)
		}
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}

func (e armError) Unwrap() error { return e.ResponseError }

// retryAfter returns the value of Retry-After when the header holds seconds, and 0 otherwise.
func retryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return time.Duration(s) * time.Second
}
