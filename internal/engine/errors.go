package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Headers of Azure's answers.
const (
	correlationHeader = "X-Ms-Correlation-Request-Id"
	requestHeader     = "X-Ms-Request-Id"
)

// refused makes what Terraform, Azure or the machine refused into the error for the client: "cannot DOING: what happened. What to
// do (ids)", with the secrets of container c hidden in its text and its cause's. An *api.Error in err's chain keeps its kind and
// says what happened. The ids are noted for the request that waits.
func (e *Engine) refused(ctx context.Context, doing string, c store.Container, err error) *api.Error {
	out := explain(doing, c.Config.Image, e.cfg.Settings.secretsOf(c), err)
	api.Correlated(ctx, out.CorrelationID)
	return out
}

func explain(doing, image string, s secrets, err error) *api.Error {
	if own, ok := errors.AsType[*api.Error](err); ok {
		out := *own
		out.Message, out.Err = "cannot "+doing+": "+s.hide(own.Message), s.seal(err)
		return &out
	}
	f := failureOf(s, err)
	best, match, text := len(causes)-1, []int(nil), f.whole // the last row is for what no other knows
	for _, part := range f.parts {
		for n, row := range causes[:best] {
			if m := row.match(err, part); m != nil {
				best, match, text = n, m, part
				break
			}
		}
	}
	row := causes[best]
	said := f.whole
	if row.form != nil {
		said = azureSaid(text)
	}
	message := row.say
	if row.form != nil {
		message = string(row.form.ExpandString(nil, row.say, text, match))
	}
	message = strings.NewReplacer("{said}", strings.TrimSuffix(shorten(said), "."), "{image}", image, "{dir}", f.dir).Replace(message)
	out := &api.Error{
		Kind: row.kind, Message: "cannot " + doing + ": " + message + ids(f.correlation, f.request), Err: s.seal(err),
		CorrelationID: f.correlation, RequestID: f.request,
	}
	if row.after > 0 {
		out.RetryAfter = row.after
		if f.after > 0 {
			out.RetryAfter = f.after
		}
	}
	return out
}

func ids(correlation, request string) string {
	switch {
	case correlation != "" && request != "":
		return " (correlation id " + correlation + ", request id " + request + ")"
	case correlation != "":
		return " (correlation id " + correlation + ")"
	case request != "":
		return " (request id " + request + ")"
	}
	return ""
}

// failure is what an error tells of itself. All texts have their white space folded and their secrets hidden.
type failure struct {
	// whole is the error's text, parts each single refusal in it, in azurerm's form of ARM's answers.
	whole string
	parts []string
	// dir is the workspace, if Terraform failed there.
	dir                  string
	correlation, request string
	// after is when Azure said to try again; 0 if it did not.
	after time.Duration
}

func failureOf(s secrets, err error) failure {
	f := failure{whole: s.clean(err.Error())}
	if run, ok := errors.AsType[*workspace.RunError](err); ok {
		f.dir, f.correlation = run.Dir, run.CorrelationID
		for _, text := range run.Diagnostics {
			f.parts = append(f.parts, s.clean(text))
		}
	}
	call, isInvocation := errors.AsType[*invoker.Error](err)
	if resp, ok := errors.AsType[*azcore.ResponseError](err); ok {
		// The SDK's text spreads the whole answer over many lines; what is before it is ours.
		before, _, found := strings.Cut(err.Error(), resp.Error())
		if !found {
			before = ""
		}
		f.parts = []string{s.clean(before + responseText(resp))}
		f.whole = f.parts[0]
		if resp.RawResponse != nil {
			f.correlation, f.request = resp.RawResponse.Header.Get(correlationHeader), resp.RawResponse.Header.Get(requestHeader)
			if n, err := strconv.Atoi(resp.RawResponse.Header.Get("Retry-After")); err == nil && n > 0 {
				f.after = time.Duration(n) * time.Second
			}
		}
	} else if isInvocation {
		f.parts = []string{"invocation " + string(call.Kind) + ": " + f.whole}
	}
	if len(f.parts) == 0 {
		f.parts = []string{f.whole}
	}
	if m := requestForm.FindStringSubmatch(f.whole); m != nil && f.request == "" {
		f.request = m[1]
	}
	if m := againForm.FindStringSubmatch(f.whole); m != nil && f.after == 0 {
		if n, err := strconv.Atoi(m[1]); err == nil {
			f.after = time.Duration(n) * time.Second
		}
	}
	return f
}

var (
	// requestForm finds Microsoft.Web's RequestId and the Activity Id of go-azure-sdk's errors of long-running operations.
	requestForm = regexp.MustCompile(`(?i)\b(?:x-ms-request-id|request ?id|activity ?id)\W{1,4}([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b`)
	againForm   = regexp.MustCompile(`(?i)\btry again (?:after|in) '?(\d{1,5})'? ?seconds`)
	// loginForm is what Entra says when it gives no token; its trace ids come after.
	loginForm = regexp.MustCompile(`(AADSTS\d+: .*?)(?: Trace ID|\\?"|$)`)
	// operationForm is go-azure-sdk's text of a failed long-running operation.
	operationForm = regexp.MustCompile(`Code: "(.*?)" Message: "(.*?)" Activity Id: "`)
)

// responseText is an answer as azurerm would put it.
func responseText(resp *azcore.ResponseError) string {
	text := fmt.Sprintf("unexpected status %d (%d %s) with error: %s", resp.StatusCode, resp.StatusCode, http.StatusText(resp.StatusCode), resp.ErrorCode)
	if resp.RawResponse == nil {
		return text
	}
	body, err := runtime.Payload(resp.RawResponse)
	if err != nil {
		return text
	}
	if said := (armBody{}).read(body); said != "" {
		return strings.TrimSuffix(text, resp.ErrorCode) + said
	}
	return text
}

// armBody is an error as ARM ("error"), Microsoft.Web (no wrapping) and Log Analytics (inner errors) write it. Go's decoder does not
// mind whether names are capitalised.
type armBody struct {
	Code       string   `json:"code"`
	Message    string   `json:"message"`
	Error      *armBody `json:"error"`
	InnerError *armBody `json:"innererror"`
}

// read is the error in content as "code: message", and its inner errors behind it; "" if there is none.
func (armBody) read(content []byte) string {
	var b armBody
	// Microsoft.Web's inner error is null or of another form: what was decoded before counts.
	_ = json.NewDecoder(strings.NewReader(string(content))).Decode(&b)
	var said []string
	for at := &b; at != nil; {
		if text := strings.Trim(at.Code+": "+at.Message, ": "); text != "" {
			said = append(said, text)
		}
		if at.Error != nil {
			at = at.Error
		} else {
			at = at.InnerError
		}
	}
	return fold(strings.Join(said, ": "))
}

// azureSaid is the part of azurerm's text that comes from Azure, or the whole text.
func azureSaid(text string) string {
	if m := loginForm.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if _, body, ok := strings.Cut(text, "with response: "); ok {
		if said := (armBody{}).read([]byte(body)); said != "" {
			return said
		}
		return body
	}
	if m := operationForm.FindStringSubmatch(text); m != nil {
		return m[1] + ": " + m[2]
	}
	if _, said, ok := strings.Cut(text, "with error: "); ok {
		return said
	}
	return text
}

// fold makes one line of a text, without the frame that Terraform draws around errors.
func fold(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\v\f\u00a0│╷╵", r) }), " ")
}

// maxSaid bounds what is told of Azure's words; the log has them all.
const maxSaid = 1000

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxSaid {
		return string(runes[:maxSaid]) + "…"
	}
	return text
}

// stopAfter is when a client of a daemon that is being restarted may ask the next one.
const stopAfter = 5 * time.Second

// stopError is Unavailable because the daemon stops.
func stopError(format string, args ...any) *api.Error {
	out := api.Errorf(api.Unavailable, format, args...)
	out.RetryAfter = stopAfter
	return out
}

// collect returns a context that collects the correlation ids of the calls under it, those of the SDK as far as each is the last
// of its run, and a function that returns them.
func collect(ctx context.Context) (context.Context, func() []string) {
	ctx, ids := api.WithCorrelations(ctx)
	ctx, note := noting(ctx)
	return ctx, func() []string {
		note()
		return ids()
	}
}

// noting returns a context for calls through the SDK, and a function that adds the correlation id of the last answer to ctx's collector.
func noting(ctx context.Context) (context.Context, func()) {
	var resp *http.Response
	return policy.WithCaptureResponse(ctx, &resp), func() {
		if resp == nil {
			return
		}
		id := resp.Header.Get(correlationHeader)
		if id == "" {
			id = resp.Header.Get(requestHeader)
		}
		api.Correlated(ctx, id)
	}
}

// correlations are ids as a field of a log line, none when there are none.
func correlations(ids []string) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		if len(ids) > 0 {
			line.Strs("azure_correlation_ids", ids)
		}
	}
}

// notingLogs notes the ids of the queries for the request that reads logs.
type notingLogs struct{ LogReader }

func (l notingLogs) Lines(ctx context.Context, q logs.Query) ([]logs.Line, error) {
	ctx, note := noting(ctx)
	defer note()
	return l.LogReader.Lines(ctx, q)
}
