// Package invoker makes one invocation of one function app and reports exit code, output and timing.
//
// It owns the host keys, which it reads through the Azure SDK, keeps in memory only and sends in a header only, and it owns
// the knowledge of how a function app fails: cold starts, the cut of an HTTP answer after 230 seconds, restarted handlers.
// It must not know containers, jobs, the store or Terraform, and it changes nothing in Azure.
//
//	inv, err := invoker.New(invoker.Config{Credential: cred, SubscriptionID: sub})
//	res, err := inv.Run(ctx, invoker.Target{ResourceGroup: rg, App: name, HostName: host}, invoker.Request{RunID: id})
//	// err: an *Error when nobody can say how the run ended; else res.ExitCode is the command's
//
// An app whose image holds azf-handler speaks invoker/protocol: a run has an id, starting it twice starts it once, and a long
// one is followed by polling. An image with a handler of its own is held to HTTP: status 2xx is exit code 0, and any other is
// exit code 1 with the head of the body as output. Four statuses are the host's and not the handler's, so such a handler
// must not use them for a failed run: 401 and 404 are errors, and 429 and 503 mean that the host is too busy or not up yet, so that the
// request is sent again, and again.
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

// DefaultReadyTimeout is how long Run waits for an app to come up: a fresh plan instance pulls the image in 2 to 5 minutes.
const DefaultReadyTimeout = 10 * time.Minute

// Config is what an Invoker needs. Credential and SubscriptionID are required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud names the endpoints; its zero value is the public Azure.
	Cloud cloud.Configuration
	// Transport carries calls to Azure Resource Manager; nil is the SDK's own.
	Transport policy.Transporter
	// HTTP carries calls to the apps; nil is a new client. Its Timeout should be 0: Run sets a limit on each request.
	// Redirects are never followed, since they would carry the host key elsewhere.
	HTTP           *http.Client
	SubscriptionID string
	// ReadyTimeout is how long to wait for an app to come up, or to come back; 0 is DefaultReadyTimeout.
	ReadyTimeout time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Sleep waits for d or for the end of ctx, then returning ctx's error; nil is a timer.
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
	// RunID is the client's id of the run: letters, digits, '.', '_' and '-', at most 128.
	RunID string
	// Traceparent is sent as the header of that name when it is not empty; see NewTraceparent.
	Traceparent string
	// Timeout ends the command; 0 is no limit. It is rounded up to whole seconds.
	Timeout time.Duration
	// Resume tells that the run may have been started already, by a caller that died: it is asked for and never started. An
	// image's own handler cannot be asked, and a run that azf-handler does not know is lost.
	Resume bool
	// BeforeStart, when set, is called before each request that may start the run, so that the caller can remember that from now on only
	// Resume is safe. Its error ends Run before anything was started. NotStarted, when set, takes that back when it is certain that the
	// request has started nothing.
	BeforeStart func(ctx context.Context) error
	NotStarted  func(ctx context.Context)
}

// Result is how a run ended.
type Result struct {
	// ExitCode is the command's (see protocol.Run), 124 after a time-out, or 0 or 1 for images with a handler of their own.
	ExitCode int
	// Error says why there is no ordinary exit code, else it is empty.
	Error string
	// StartedAt and FinishedAt are azf-handler's times of the command, else this client's times of the request.
	StartedAt, FinishedAt time.Time
	// Lines is the captured output. Of an image's own handler it is the head of a failure's body.
	Lines []protocol.Line
	// Truncated tells that output is missing from Lines or Body.
	Truncated bool
	// Protocol tells that azf-handler answered.
	Protocol bool
	// Body is what an image's own handler answered, at most 16 MiB.
	Body []byte
}

// Invoker runs function apps. Its methods may be called from several goroutines.
type Invoker struct {
	web          *armappservice.WebAppsClient
	http         *http.Client
	readyTimeout time.Duration
	now          func() time.Time
	sleep        func(context.Context, time.Duration) error
	// withTimeout bounds one request; tests replace it to have a request time out at a certain point.
	withTimeout func(context.Context, time.Duration) (context.Context, context.CancelFunc)
	log         zerolog.Logger

	mu   sync.Mutex
	keys map[string]string // by keyID
}

// New returns an Invoker. It makes no call.
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
			// The waiting is done here, where it has a clock and knows what a status means.
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

func check(t Target, r Request) error {
	switch u, err := url.Parse("https://" + t.HostName + "/"); {
	case t.App == "" || t.ResourceGroup == "":
		return errors.New("check run: no function app or no resource group given")
	case err != nil || u.Host != t.HostName || u.Host == "":
		return fmt.Errorf("check run of %s: %q is not a host name", t.App, t.HostName)
	case !runIDForm.MatchString(r.RunID) || strings.Trim(r.RunID, ".") == "":
		return fmt.Errorf("check run of %s: run id %q has characters other than letters, digits, '.', '_' and '-', or not 1 to 128", t.App, r.RunID)
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

// TraceID returns the trace id in a traceparent, or "" when it is none.
func TraceID(traceparent string) string {
	if !traceparentForm.MatchString(traceparent) {
		return ""
	}
	return traceparent[3:35]
}
