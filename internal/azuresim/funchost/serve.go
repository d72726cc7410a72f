package funchost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// keyHeader carries a function key, as does the query parameter code.
const keyHeader = "X-Functions-Key"

// ServeHTTP answers one request to the app's host name.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app := h.current.Load()
	if app == nil {
		http.Error(w, "Function host is not running.", http.StatusServiceUnavailable)
		return
	}
	key := r.Header.Get(keyHeader)
	if key == "" {
		key = r.URL.Query().Get("code")
	}
	switch r.URL.Path {
	case "/":
		w.WriteHeader(http.StatusOK)
		return
	case "/admin/host/status":
		if key != h.Keys.Master {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"state":"Running"}`) // a client that left reads no answer
		return
	}
	f, known, ok := app.site.find(r)
	switch {
	case !ok && known:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case !h.allowed(f.level, key):
		w.WriteHeader(http.StatusUnauthorized)
	default:
		h.invoke(w, r, app, f)
	}
}

func (h *host) allowed(level, key string) bool {
	switch level {
	case "anonymous":
		return true
	case "admin":
		return key == h.Keys.Master
	default:
		return key != "" && (key == h.Keys.Master || key == h.Keys.Default)
	}
}

// result is the handler's answer.
type result struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// invoke runs a function. Its AppRequests row comes when the function ends, and before the answer.
func (h *host) invoke(w http.ResponseWriter, r *http.Request, a *app, f function) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.ContentLength <= 0 {
		body = nil // Functions host: a body without Content-Length is not forwarded
	}
	// The function outlives the client: only the host's own end, or the function's time limit, ends it.
	request := r.Clone(context.WithoutCancel(r.Context()))
	started := time.Now()
	res := h.call(request, body, a, f)
	h.recordRequest(request, f, started, res)
	if res.err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	maps.Copy(w.Header(), res.header)
	w.WriteHeader(res.status)
	_, _ = w.Write(res.body) // a client that left reads no answer
}

// call passes a request on to the handler and waits for its answer. It fails when the function's time is up, or the
// handler ends.
func (h *host) call(r *http.Request, body []byte, a *app, f function) result {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	answered := make(chan result, 1)
	go func() {
		if a.site.forward && f.simple {
			answered <- h.forward(ctx, r, body, a)
		} else {
			answered <- h.wrapped(ctx, r, body, a, f)
		}
	}()
	var limit <-chan time.Time
	if a.site.timeout > 0 {
		timer := time.NewTimer(a.site.timeout)
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case res := <-answered:
		return res
	case <-a.process.ended:
		return result{err: errors.New("the handler ended")}
	case <-limit:
		// Functions host: the one handler process is restarted, and every other invocation in it dies too.
		select {
		case h.restart <- a.process:
		default: // another invocation has asked already
		}
		<-a.process.ended
		return result{err: fmt.Errorf("timeout value of %s exceeded by function: Functions.%s", a.site.timeout, f.name)}
	}
}

// forward passes the original request on, as enableForwardingHttpRequest demands.
func (h *host) forward(ctx context.Context, r *http.Request, body []byte, a *app) result {
	req, err := http.NewRequestWithContext(ctx, r.Method, a.process.url+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return result{err: err}
	}
	req.Header = r.Header.Clone()
	// Seen in the Functions host: with forwarding the trace context does not reach the handler.
	req.Header.Del("Traceparent")
	req.Header.Del("Tracestate")
	req.Header.Set("X-Azure-Functions-InvocationId", spanOf(r))
	return h.do(req)
}

// wrapped calls the handler in the host's own form: the request as JSON, and the answer in Outputs.
func (h *host) wrapped(ctx context.Context, r *http.Request, body []byte, a *app, f function) result {
	content, err := json.Marshal(map[string]any{
		"Data": map[string]any{"req": map[string]any{
			"Url": r.URL.String(), "Method": r.Method, "Headers": r.Header, "Body": string(body),
		}},
		"Metadata": map[string]any{"sys": map[string]string{"MethodName": f.name}},
	})
	if err != nil {
		return result{err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.process.url+"/"+f.name, bytes.NewReader(content))
	if err != nil {
		return result{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	res := h.do(req)
	if res.err != nil {
		return res
	}
	if res.status/100 != 2 {
		return result{err: fmt.Errorf("response status code does not indicate success: %d", res.status)}
	}
	var answer struct {
		Outputs map[string]struct {
			Body       any               `json:"body"`
			StatusCode any               `json:"statusCode"`
			Headers    map[string]string `json:"headers"`
		}
		Logs []string
	}
	if err := json.Unmarshal(res.body, &answer); err != nil {
		return result{err: fmt.Errorf("read the handler's answer: %w", err)}
	}
	for _, line := range answer.Logs {
		h.trace("Function."+f.name+".User", information, line)
	}
	out := result{status: http.StatusOK, header: http.Header{}}
	for _, o := range answer.Outputs {
		if status, err := strconv.Atoi(fmt.Sprint(o.StatusCode)); err == nil {
			out.status = status
		}
		for name, value := range o.Headers {
			out.header.Set(name, value)
		}
		if text, ok := o.Body.(string); ok {
			out.body = []byte(text)
		} else if o.Body != nil {
			if out.body, err = json.Marshal(o.Body); err != nil {
				return result{err: err}
			}
		}
	}
	return out
}

func (h *host) do(req *http.Request) (res result) {
	answer, err := h.client.Do(req)
	if err != nil {
		return result{err: err}
	}
	body, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return result{err: err}
	}
	header := answer.Header.Clone()
	header.Del("Content-Length")
	header.Del("Transfer-Encoding")
	return result{status: answer.StatusCode, header: header, body: body}
}

var traceparent = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

func spanOf(r *http.Request) string {
	if m := traceparent.FindStringSubmatch(r.Header.Get("Traceparent")); m != nil {
		return m[2]
	}
	return ""
}

// recordRequest writes the invocation's AppRequests row, whose operation id is the trace id of an incoming traceparent.
func (h *host) recordRequest(r *http.Request, f function, started time.Time, res result) {
	operation := ""
	if m := traceparent.FindStringSubmatch(r.Header.Get("Traceparent")); m != nil {
		operation = m[1]
	}
	status := res.status
	if res.err != nil {
		status = http.StatusInternalServerError
	}
	url := *r.URL
	url.Scheme, url.Host = "https", r.Host
	h.telemetry.append("AppRequests", map[string]any{
		"TimeGenerated": started, "Id": spanOf(r), "Name": f.name, "Url": url.String(),
		"Success": res.err == nil && status < 400, "ResultCode": strconv.Itoa(status),
		"DurationMs":  float64(time.Since(started)) / float64(time.Millisecond),
		"OperationId": operation, "OperationName": f.name, "AppRoleName": strings.ToLower(h.App),
	})
	h.telemetry.flush()
}
