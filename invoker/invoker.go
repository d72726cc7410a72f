// Package invoker makes one invocation of one function app and reports exit code, output and timing.
//
// It owns the host keys: it reads them through the Azure SDK, keeps them in memory only and sends them in a header
// only. It also owns the handling of a function app's failures: cold starts, HTTP answers that Azure cuts off after
// 230 seconds, restarted handlers. It must not know containers, jobs, the store or Terraform, and it changes
// nothing in Azure.
//
// This package makes no promise to other modules: invoker/protocol is the only Go API of this module that does.
//
//	inv, err := invoker.New(invoker.Config{Credential: cred, SubscriptionID: sub})
//	res, err := inv.Run(ctx, invoker.Target{ResourceGroup: rg, App: name, HostName: host}, invoker.Request{RunID: id})
//	// err is an *Error when the end of the run is unknown; otherwise res.ExitCode is the command's exit code
//
// An app whose image holds azf-handler speaks invoker/protocol: a run has an id, starting it twice starts it once,
// and the Invoker polls a long run. For an image with a handler of its own, HTTP status 2xx means exit code 0. Any
// other status means exit code 1, with the head of the body as output. Some answers come from the host or from App
// Service and not from the handler, so such a handler must not use them for a failed run: 401, 404, App Service's pages
// for 403, and redirects to a login are errors. After 429 and 503, which mean that the host is too busy or not up yet,
// the Invoker sends the request again. Of an app that is known to hold azf-handler (Request.Handler), every answer
// without its header is one of something else.
package invoker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v5"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// DefaultReadyTimeout limits how long Run waits for an app to come up. A fresh instance of a service plan pulls the
// image in 2 to 5 minutes.
const DefaultReadyTimeout = 10 * time.Minute

// Config configures New. Credential and SubscriptionID are required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud holds the endpoints; its zero value means Azure's public cloud.
	Cloud cloud.Configuration
	// Transport carries calls to Azure Resource Manager; nil means the SDK's own.
	Transport policy.Transporter
	// HTTP carries calls to the apps; nil means a new client. Its Timeout should be 0, as Run limits each request. The
	// Invoker follows no redirect, which would carry the host key elsewhere.
	HTTP           *http.Client
	SubscriptionID string
	// ReadyTimeout limits the wait for an app to come up, or to come back; 0 means DefaultReadyTimeout.
	ReadyTimeout time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Sleep waits for d. When ctx ends first, it returns ctx's error. nil means a timer.
	Sleep func(ctx context.Context, d time.Duration) error
	Log   zerolog.Logger
}

// Target is a function app.
type Target struct {
	ResourceGroup string
	App           string
	// HostName is the app's default host name, without scheme, possibly with a port.
	HostName string
}

// Request is one run.
type Request struct {
	// RunID is the client's id of the run: at most 128 letters, digits, '.', '_' and '-'.
	RunID string
	// Traceparent is the value of the header of that name, unless it is empty; see NewTraceparent.
	Traceparent string
	// Handler reports that the app is known to hold azf-handler. Then an answer of anything else is never the end of a
	// run.
	Handler bool
	// Timeout is the time limit of the command, rounded up to whole seconds; 0 means no limit.
	Timeout time.Duration
	// Resume follows a run that an earlier caller may have started, and never starts it. The run is lost (KindLost) when
	// azf-handler does not know it, or when the image has a handler of its own, which cannot be asked about a run.
	Resume bool
	// Run calls BeforeStart, when set, before each request that may start the run, so that the caller can record that
	// from then on only Resume is safe. An error of BeforeStart ends Run before a start. Run calls NotStarted, when
	// set, after such a request that certainly has started nothing, so that the caller can delete its record.
	BeforeStart func(ctx context.Context) error
	NotStarted  func(ctx context.Context)
}

// Result is the end of a run.
type Result struct {
	// ExitCode is the command's exit code (see protocol.Run), 124 after a time-out, or 0 or 1 for an image with a
	// handler of its own.
	ExitCode int
	// Error is the reason why there is no ordinary exit code. Otherwise it is empty.
	Error string
	// StartedAt and FinishedAt are azf-handler's times of the command. Without azf-handler they are the client's times
	// of the request.
	StartedAt, FinishedAt time.Time
	// Lines is the captured output. For an image's own handler it is the head of a failure's body.
	Lines []protocol.Line
	// Truncated reports whether output is missing from Lines or Body.
	Truncated bool
	// Protocol reports whether azf-handler answered.
	Protocol bool
	// Body is the answer of an image's own handler, at most 16 MiB.
	Body []byte
}

// Invoker runs function apps. Its methods are safe for concurrent use.
type Invoker struct {
	web          *armappservice.WebAppsClient
	http         *http.Client
	readyTimeout time.Duration
	now          func() time.Time
	sleep        func(context.Context, time.Duration) error
	// withTimeout bounds one request. Tests replace it to let a request time out at a certain point.
	withTimeout func(context.Context, time.Duration) (context.Context, context.CancelFunc)
	log         zerolog.Logger

	mu   sync.Mutex
	keys map[string]string // by keyID
}

// New returns an Invoker. It calls no service.
func New(cfg Config) (*Invoker, error) {
	if cfg.Credential == nil {
		return nil, errors.New("new invoker: no credential given")
	}
	if cfg.SubscriptionID == "" {
		return nil, errors.New("new invoker: no subscription id given")
	}
	web, err := armappservice.NewWebAppsClient(cfg.SubscriptionID, cfg.Credential, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Cloud:     cfg.Cloud,
			Transport: cfg.Transport,
			// retry waits instead of the SDK: it uses the clock of Config and knows the meaning of each status.
			Retry: policy.RetryOptions{MaxRetries: -1},
		},
		// Registering a resource provider would change the subscription.
		DisableRPRegistration: true,
	})
	if err != nil {
		return nil, fmt.Errorf("new web apps client: %w", err)
	}
	client := &http.Client{}
	if cfg.HTTP != nil {
		*client = *cfg.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	i := &Invoker{
		web: web, http: client, readyTimeout: cfg.ReadyTimeout, now: cfg.Now, sleep: cfg.Sleep,
		withTimeout: context.WithTimeout, log: cfg.Log, keys: map[string]string{},
	}
	if i.readyTimeout <= 0 {
		i.readyTimeout = DefaultReadyTimeout
	}
	if i.now == nil {
		i.now = time.Now
	}
	if i.sleep == nil {
		i.sleep = sleep
	}
	return i, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	runIDForm       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	traceparentForm = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// check validates the arguments of Run.
func check(t Target, r Request) error {
	switch u, err := url.Parse("https://" + t.HostName + "/"); {
	case t.App == "" || t.ResourceGroup == "":
		return errors.New("check run: no function app or no resource group given")
	case err != nil || u.Host != t.HostName || u.Host == "":
		return fmt.Errorf("check run of %s: %q is not a host name", t.App, t.HostName)
	case !runIDForm.MatchString(r.RunID) || strings.Trim(r.RunID, ".") == "":
		return fmt.Errorf("check run of %s: run id %q must consist of 1 to 128 letters, digits, '.', '_' and '-'",
			t.App, r.RunID)
	case r.Traceparent != "" && !traceparentForm.MatchString(r.Traceparent):
		return fmt.Errorf("check run of %s: %q is not a traceparent; use NewTraceparent", t.App, r.Traceparent)
	case r.Timeout < 0:
		return fmt.Errorf("check run of %s: the time limit %s is negative; use 0 for none", t.App, r.Timeout)
	}
	return nil
}

// NewTraceparent returns a fresh traceparent of version 00, sampled. Application Insights stores its trace id as the
// OperationId of the invocation's rows.
func NewTraceparent() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"
}

// TraceID returns the trace id in a traceparent, or "" when the traceparent is not valid.
func TraceID(traceparent string) string {
	if !traceparentForm.MatchString(traceparent) {
		return ""
	}
	return traceparent[3:35]
}
