package azuresim

import (
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// Faults are what goes wrong, or slowly, on demand. The zero value is an Azure in perfect health.
type Faults struct {
	// IngestionDelay is how long a log row stays invisible to queries.
	IngestionDelay time.Duration
	// ColdStart is added to the start of every function host started from now on.
	ColdStart time.Duration
	// ResponseCut is how long a function host started from now on lets a request run before it answers for it; 0 is
	// App Service's 230 s.
	ResponseCut time.Duration
	// Latency, if set, is how long a call takes on top; of writes, by method, for instance. A matching rule's Delay is added.
	Latency func(method, path string) time.Duration
	// Rules are tried in order for every call; the first that matches and is not used up applies.
	Rules []Rule

	// BeforeWrite and AfterWrite, if set, are called around every Resource Manager write (PUT, PATCH, DELETE): once it is
	// accepted but not done, and once it is done but not answered. They may block, or end the client.
	BeforeWrite func(method, path string)
	AfterWrite  func(method, path string, status int)
}

// A Rule is one fault of the calls that match all of its patterns; nil or "" matches everything.
type Rule struct {
	Method string         // exactly
	Host   *regexp.Regexp // of the Host header, without port
	Path   *regexp.Regexp // without query

	// Skip is how many matching calls pass unharmed first; Times how many are then harmed, 0 for all.
	Skip, Times int

	// The effect: Delay comes first, then Status or Drop.
	Delay      time.Duration
	Status     int           // answered instead of doing anything: 429, 409, 500, 503 ...
	RetryAfter time.Duration // header of that answer, in whole seconds; 0 sends none
	Code       string        // error code of that answer's body; "" is the status's text
	Message    string        // message of that answer's body; "" says that it was injected
	Drop       Drop
}

// Drop says when a connection is cut instead of answered.
type Drop int

// When a connection is cut.
const (
	DropNever  Drop = iota
	DropBefore      // nothing was done
	DropAfter       // all was done, and the answer is lost
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

// serveWithFaults answers r, or harms it as the faults say. It panics with http.ErrAbortHandler to cut the connection.
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
		writeError(w, &armError{rule.Status, code, message})
	case rule.Drop == DropBefore:
		panic(http.ErrAbortHandler)
	case rule.Drop == DropAfter:
		s.serve(&discard{header: make(http.Header)}, r, service, delay, faults)
		panic(http.ErrAbortHandler)
	default:
		s.serve(w, r, service, delay, faults)
	}
}

// discard takes an answer that nobody will see.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
