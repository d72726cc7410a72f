package azuresim

import (
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// Faults make calls fail, or slow, on demand. The zero value is a healthy Azure.
type Faults struct {
	// IngestionDelay is the time after which queries see a log row.
	IngestionDelay time.Duration
	// ColdStart is added to the start of every function host started from now on.
	ColdStart time.Duration
	// ResponseCut is the time after which App Service's front end answers for a function host that was started from now
	// on; 0 is its 230 s.
	ResponseCut time.Duration
	// Latency, if set, returns the time by which a call is delayed, for instance by method. The Delay of a matching rule
	// comes on top.
	Latency func(method, path string) time.Duration
	// AsyncSites, if set, has App Service accept every PUT of a site and carry it out later. Otherwise it does so with
	// every second one.
	AsyncSites *Async
	// Rules are the faults of single calls. To each call, the first rule that matches and is not used up applies.
	Rules []Rule

	// BeforeWrite and AfterWrite, if set, are called around every Resource Manager write (PUT, PATCH, DELETE): when the
	// write is accepted but not done, and when it is done but not answered. They may block, or end the client.
	BeforeWrite func(method, path string)
	AfterWrite  func(method, path string, status int)
}

// A Rule is one fault of the calls that match all of its patterns; nil or "" matches everything.
type Rule struct {
	Method string         // exactly
	Host   *regexp.Regexp // of the Host header, without port
	Path   *regexp.Regexp // without query

	// Skip is the number of matching calls that pass first. Times is the number of calls after them that the fault
	// applies to; 0 means all.
	Skip, Times int

	// The effect: Delay comes first, then Status or Drop.
	Delay      time.Duration
	Status     int           // of an answer in place of doing anything: 429, 409, 500, 503 ...
	RetryAfter time.Duration // header of that answer, in whole seconds; 0 sends none
	Code       string        // error code of that answer's body; "" is the status's text
	Message    string        // message of that answer's body; "" is a sentence that the fault was injected
	Body       any           // of that answer in place of an error, as JSON
	Drop       Drop
}

// Drop selects when a connection is cut in place of an answer.
type Drop int

// The values of Drop.
const (
	DropNever  Drop = iota
	DropBefore      // nothing was done
	DropAfter       // everything was done, and the answer is lost
)

// faultState is the current Faults with the count of each rule's matches.
type faultState struct {
	mu      sync.Mutex
	faults  Faults
	matches []int
}

func (f *faultState) set(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
	f.matches = make([]int, len(faults.Rules))
}

func (f *faultState) current() Faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults
}

// pick counts r against the rules and returns the rule that applies, or a zero one.
func (f *faultState) pick(r *http.Request) (Rule, Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, rule := range f.faults.Rules {
		if rule.Method != "" && rule.Method != r.Method ||
			rule.Host != nil && !rule.Host.MatchString(hostOnly(r.Host)) ||
			rule.Path != nil && !rule.Path.MatchString(r.URL.Path) {
			continue
		}
		n := f.matches[i]
		if rule.Times > 0 && n >= rule.Skip+rule.Times {
			continue
		}
		f.matches[i]++
		if n >= rule.Skip {
			return rule, f.faults
		}
	}
	return Rule{}, f.faults
}

// serveWithFaults answers r, with the faults that apply. It panics with http.ErrAbortHandler to cut the connection.
func (s *Sim) serveWithFaults(w *statusRecorder, r *http.Request, service service) {
	rule, faults := s.faults.pick(r)
	delay := rule.Delay
	if faults.Latency != nil {
		delay += faults.Latency(r.Method, r.URL.Path)
	}
	if (rule.Status != 0 || rule.Drop == DropBefore) && delay > 0 {
		s.cfg.Sleep(r.Context(), delay)
	}
	switch {
	case rule.Status != 0:
		if rule.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(rule.RetryAfter/time.Second)))
		}
		code := rule.Code
		if code == "" {
			code = http.StatusText(rule.Status)
		}
		message := rule.Message
		if message == "" {
			message = "Injected by azuresim."
		}
		setRequestIDs(w, r)
		if rule.Body != nil {
			writeJSON(w, rule.Status, rule.Body)
			return
		}
		writeError(w, &armError{status: rule.Status, code: code, message: message})
	case rule.Drop == DropBefore:
		panic(http.ErrAbortHandler)
	case rule.Drop == DropAfter:
		s.serve(&discard{header: make(http.Header)}, r, service, delay, faults)
		panic(http.ErrAbortHandler)
	default:
		s.serve(w, r, service, delay, faults)
	}
}

// discard drops an answer that is lost on its way.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
