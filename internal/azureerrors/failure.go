package azureerrors

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/workspace"
)

// failure holds the facts of an error. All its strings are on one line, without secrets.
type failure struct {
	// whole is the error's message, parts are the single refusals in it, in azurerm's form of ARM's errors.
	whole string
	parts []string
	// dir is the Terraform workspace, if Terraform failed there.
	dir                  string
	correlation, request string
	// retryAfter is the delay that Azure asks for; 0 if it names none.
	retryAfter time.Duration
}

func failureOf(s Secrets, err error) failure {
	f := failure{whole: s.clean(err.Error())}
	if run, ok := errors.AsType[*workspace.TerraformError](err); ok {
		f.dir, f.correlation = run.Dir, run.CorrelationID
		for _, text := range run.Diagnostics {
			f.parts = append(f.parts, s.clean(text))
		}
	}
	if resp, ok := errors.AsType[*azcore.ResponseError](err); ok {
		f.addResponse(s, err, resp)
	} else if call, ok := errors.AsType[*invoker.Error](err); ok {
		f.parts = []string{"invocation " + string(call.Kind) + ": " + f.whole}
	}
	if len(f.parts) == 0 {
		f.parts = []string{f.whole}
	}
	if m := requestForm.FindStringSubmatch(f.whole); m != nil && f.request == "" {
		f.request = m[1]
	}
	if m := retryForm.FindStringSubmatch(f.whole); m != nil && f.retryAfter == 0 {
		f.retryAfter = seconds(m[1])
	}
	return f
}

// addResponse takes the facts from a response that the SDK turned into an error.
func (f *failure) addResponse(s Secrets, err error, resp *azcore.ResponseError) {
	// The SDK's message spreads the whole response over many lines. The words before it are ours.
	before, _, found := strings.Cut(err.Error(), resp.Error())
	if !found {
		before = ""
	}
	f.parts = []string{s.clean(before + responseText(resp))}
	f.whole = f.parts[0]
	if resp.RawResponse == nil {
		return
	}
	header := resp.RawResponse.Header
	f.correlation, f.request = header.Get(correlationHeader), header.Get(requestHeader)
	f.retryAfter = seconds(header.Get("Retry-After"))
}

// seconds reads a whole number of seconds. Anything but a positive number is 0.
func seconds(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// cause returns the first row of the table that describes one of the parts, the part and the positions of the row's
// groups in it. The last row describes what no other row does.
func (f failure) cause(err error) (row cause, positions []int, text string) {
	best := len(causes) - 1
	text = f.whole
	for _, part := range f.parts {
		for n, row := range causes[:best] {
			if m := row.match(err, part); m != nil {
				best, positions, text = n, m, part
				break
			}
		}
	}
	return causes[best], positions, text
}

var (
	// requestForm finds Microsoft.Web's RequestId and the Activity Id of go-azure-sdk's errors of long-running operations.
	requestForm = regexp.MustCompile(`(?i)\b(?:x-ms-request-id|request ?id|activity ?id)\W{1,4}` +
		`([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b`)
	retryForm = regexp.MustCompile(`(?i)\btry again (?:after|in) '?(\d{1,5})'? ?seconds`)
	// loginForm is Entra's message when it refuses a token. Trace ids follow it.
	loginForm = regexp.MustCompile(`(AADSTS\d+: .*?)(?: Trace ID|\\?"|$)`)
	// operationForm is go-azure-sdk's message of a failed long-running operation.
	operationForm = regexp.MustCompile(`Code: "(.*?)" Message: "(.*?)" Activity Id: "`)
)

// responseText returns a response in azurerm's form.
func responseText(resp *azcore.ResponseError) string {
	status := http.StatusText(resp.StatusCode)
	head := fmt.Sprintf("unexpected status %d (%d %s) with error: ", resp.StatusCode, resp.StatusCode, status)
	if resp.RawResponse == nil {
		return head + resp.ErrorCode
	}
	body, err := runtime.Payload(resp.RawResponse)
	if err != nil {
		return head + resp.ErrorCode
	}
	if text := bodyText(body); text != "" {
		return head + text
	}
	return head + resp.ErrorCode
}

// armBody is an error as ARM ("error"), Microsoft.Web (no wrapping) and Log Analytics (inner errors) write it. Go's
// decoder ignores the case of names.
type armBody struct {
	Code       string   `json:"code"`
	Message    string   `json:"message"`
	Error      *armBody `json:"error"`
	InnerError *armBody `json:"innererror"`
}

// bodyText returns the error in a response's body as "code: message" with its inner errors behind it, or "" if there is
// none.
func bodyText(content []byte) string {
	var body armBody
	// Microsoft.Web's inner error is null or of another form. What was decoded before it counts.
	_ = json.NewDecoder(strings.NewReader(string(content))).Decode(&body)
	var texts []string
	for at := &body; at != nil; {
		if text := strings.Trim(at.Code+": "+at.Message, ": "); text != "" {
			texts = append(texts, text)
		}
		if at.Error != nil {
			at = at.Error
		} else {
			at = at.InnerError
		}
	}
	return fold(strings.Join(texts, ": "))
}

// reasonIn returns the part of azurerm's message that comes from Azure, or the whole message.
func reasonIn(text string) string {
	if m := loginForm.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if _, body, ok := strings.Cut(text, "with response: "); ok {
		if reason := bodyText([]byte(body)); reason != "" {
			return reason
		}
		return body
	}
	if m := operationForm.FindStringSubmatch(text); m != nil {
		return m[1] + ": " + m[2]
	}
	if _, reason, ok := strings.Cut(text, "with error: "); ok {
		return reason
	}
	return text
}
