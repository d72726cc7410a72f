package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/server"
)

// restart ends the daemon and starts one with a changed configuration. The daemon writes its log to log, which the test
// may read once the daemon is stopped.
func (p *playground) restart(t *testing.T, log *bytes.Buffer, change func(*daemon.Config)) {
	t.Helper()
	p.stop()
	cfg := p.cfg
	cfg.Log = zerolog.New(zerolog.SyncWriter(log))
	change(&cfg)
	p.serve(t, cfg)
}

// refusal is an answer with Docker's error body.
type refusal struct {
	status     int
	retryAfter string
	requestID  string
	message    string
}

// refused asks for a container with a secret in its environment.
func (p *playground) refused(t *testing.T, name, secret string) refusal {
	t.Helper()
	body, err := json.Marshal(api.CreateRequest{Config: &api.Config{Image: p.image, Env: []string{"SECRET=" + secret}}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodPost,
		"http://daemon"+server.Prefix+"/containers?name="+name,
		bytes.NewReader(body),
	)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	var failure struct{ Message string }
	if err := json.Unmarshal(content, &failure); err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return refusal{res.StatusCode, res.Header.Get("Retry-After"), res.Header.Get("X-Request-Id"), failure.Message}
}

// logged is one line of the daemon's log.
type logged struct {
	Level, Message string
	RequestID      string   `json:"request_id"`
	CorrelationID  string   `json:"azure_correlation_id"`
	CorrelationIDs []string `json:"azure_correlation_ids"`
	ContainerID    string   `json:"container_id"`
}

func readLog(t *testing.T, log *bytes.Buffer) (lines []logged) {
	t.Helper()
	for dec := json.NewDecoder(bytes.NewReader(log.Bytes())); ; {
		var l logged
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

// Secrets that no message and no log may hold.
const (
	secretValue = "hunter2-hunter2"
	storageKey  = "a2V5LW9mLXRoZS1zdG9yYWdlLWFjY291bnQ="
)

// azureRefusal is a refusal of Azure, the wanted answer to the client, and the answer that came.
type azureRefusal struct {
	name   string
	rule   azuresim.Rule
	status int
	retry  string
	want   []string
	got    refusal
}

// azureRefusals returns refusals with messages as Azure Resource Manager sends them.
func azureRefusals() []azureRefusal {
	return []azureRefusal{
		{
			name: "forbidden", status: http.StatusForbidden,
			rule: azuresim.Rule{Status: http.StatusForbidden, Code: "AuthorizationFailed", Message: "The client " +
				"'f0000000-0000-0000-0000-000000000009' with object id 'b0000000-0000-0000-0000-000000000001' " +
				"does not have authorization to perform action 'Microsoft.Web/sites/write' over scope " +
				"'/subscriptions/1/resourceGroups/rg' or the scope is invalid. If access was recently granted, please refresh " +
				"your credentials."},
			want: []string{"cannot create container forbidden: ", "action Microsoft.Web/sites/write on scope " +
				"/subscriptions/1/resourceGroups/rg to the daemon's identity (client id f0000000-0000-0000-0000-000000000009)"},
		},
		{
			name: "busy", status: http.StatusConflict,
			rule: azuresim.Rule{Status: http.StatusConflict, Code: "Conflict", Message: "Cannot modify this site because " +
				"another operation is in progress. Details: Id: e2440937-ae53-41f4-b013-09884e027c45, " +
				"OperationName: Create, CreatedTime: 7/20/2026 8:01:21 PM, RequestId: c4bcc3d5-418b-4ca3-b9e3-ac601e74ee49, " +
				"EntityType: 3"},
			want: []string{"another operation is in progress", "request id c4bcc3d5-418b-4ca3-b9e3-ac601e74ee49)"},
		},
		{
			// The provider asks 34 times before it gives up. Retry-After is 0 s, so this takes no time.
			name: "throttled", status: http.StatusServiceUnavailable, retry: "17",
			rule: azuresim.Rule{
				Status:     http.StatusTooManyRequests,
				RetryAfter: 1,
				Code:       "SubscriptionRequestsThrottled",
				Message:    "Number of requests for subscription '1' exceeded the limit. Please try again after '17' seconds.",
			},
			want: []string{"SubscriptionRequestsThrottled", "Try again later"},
		},
		{
			name: "invalid", status: http.StatusBadRequest,
			rule: azuresim.Rule{Status: http.StatusBadRequest, Code: "BadRequest", Message: "The setting SECRET has the value " +
				"'" + secretValue + "', and AzureWebJobsStorage AccountKey=" + storageKey + "; is invalid."},
			want: []string{"has the value '(sensitive value)'"},
		},
	}
}

// TestRefusalsOfAzure sends messages of Azure Resource Manager through azurerm and Terraform.
func TestRefusalsOfAzure(t *testing.T) {
	p := newPlayground(t)
	rows := azureRefusals()
	var log bytes.Buffer
	p.restart(t, &log, func(*daemon.Config) {})
	id := p.create(t, "works", api.Config{Env: []string{"SECRET=" + secretValue}})
	p.must(t, http.MethodDelete, "/containers/works", nil, nil)
	for i := range rows {
		row := &rows[i]
		row.rule.Method, row.rule.Path = http.MethodPut, sitePath
		p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{row.rule}})
		row.got = p.refused(t, row.name, secretValue)
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.stop()

	// The log is compared with the list of requests that the simulator got.
	calls := p.sim.Calls()
	lines := readLog(t, &log)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.check(t, calls, lines) })
	}
	t.Run("successes are logged with their calls", func(t *testing.T) { checkSuccesses(t, calls, lines) })
	if id == "" || !strings.Contains(log.String(), id) {
		t.Error("the log does not name the container: the test looks at nothing")
	}
	for _, text := range []string{
		secretValue, storageKey, azuresim.DefaultClientSecret, "AccountKey=a2V5", "Bearer ", "eyJ", "InstrumentationKey=",
	} {
		if strings.Contains(log.String(), text) {
			t.Errorf("the log holds %.20s", text)
		}
	}
}

// check compares the answer with what is wanted, with the simulator's calls and with the daemon's log.
func (r azureRefusal) check(t *testing.T, calls []azuresim.Call, lines []logged) {
	if r.got.status != r.status || r.got.retryAfter != r.retry {
		t.Errorf("got %+v, want %d and %q", r.got, r.status, r.retry)
	}
	for _, text := range r.want {
		if !strings.Contains(r.got.message, text) {
			t.Errorf("got %q, want %q in it", r.got.message, text)
		}
	}
	if strings.Contains(r.got.message, secretValue) || strings.Contains(r.got.message, storageKey) {
		t.Errorf("%q holds a secret", r.got.message)
	}
	i := slices.IndexFunc(calls, func(c azuresim.Call) bool {
		return c.Method == http.MethodPut && sitePath.MatchString(c.Path) && c.Status == r.rule.Status
	})
	if i < 0 {
		t.Fatal("Azure saw no such call")
	}
	asked := calls[i].CorrelationID
	if asked == "" || !strings.Contains(r.got.message, "(correlation id "+asked) {
		t.Errorf("got %q, want correlation id %s", r.got.message, asked)
	}
	if ids := requestCalls(lines, r.got.requestID); !slices.Contains(ids, asked) {
		t.Errorf("the request was logged with %q, want %s", ids, asked)
	}
	if !slices.ContainsFunc(lines, func(l logged) bool {
		return l.RequestID == r.got.requestID && l.CorrelationID == asked && (l.Level == "error") == (r.status >= 500)
	}) {
		t.Errorf("no line of the refusal with request id %s and correlation id %s", r.got.requestID, asked)
	}
}

// requestCalls returns the correlation ids that the log has for a request.
func requestCalls(lines []logged, requestID string) []string {
	for _, l := range lines {
		if l.Message == "request" && l.RequestID == requestID {
			return l.CorrelationIDs
		}
	}
	return nil
}

// checkSuccesses checks the calls of a create and a remove that succeed: the create looks for a foundation, creates it
// and the function app, and the remove destroys the function app.
func checkSuccesses(t *testing.T, calls []azuresim.Call, lines []logged) {
	var worked []string
	for _, l := range lines {
		if l.Message == "request" && len(worked) < 4 {
			worked = append(worked, l.CorrelationIDs...)
		}
	}
	if len(worked) != 4 {
		t.Errorf("create and remove were logged with %q, want a search and three operations", worked)
	}
	for _, id := range worked {
		if !slices.ContainsFunc(calls, func(c azuresim.Call) bool { return c.CorrelationID == id }) {
			t.Errorf("Azure saw no call %s", id)
		}
	}
}

func TestMissingPlan(t *testing.T) {
	p := newPlayground(t)
	p.restart(t, new(bytes.Buffer), func(cfg *daemon.Config) {
		cfg.StateDir = filepath.Join(p.dir, "other")
		cfg.Azure.AppServicePlan = "no-such-plan"
	})
	got := p.refused(t, "web", "hunter2-hunter2")
	if got.status != http.StatusNotFound || !strings.Contains(got.message, "no-such-plan") ||
		!strings.Contains(got.message, "correct its name") {
		t.Errorf("got %+v", got)
	}
	if err := p.Call(t.Context(), http.MethodGet, "/containers/web", nil, nil); !answered(err, http.StatusNotFound) {
		t.Errorf("got %v, want that nothing is left", err)
	}
}
