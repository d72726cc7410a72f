package azuresim_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestRules(t *testing.T) {
	t.Parallel()
	path := planPath("p") + webAPI
	plan := regexp.MustCompile(`(?i)/serverfarms/p$`)
	for _, row := range []struct {
		name  string
		rules []azuresim.Rule
		want  []int // statuses of successive PUTs; 0 is a cut connection
	}{
		{"none", nil, []int{200, 200}},
		{"always", []azuresim.Rule{{Path: plan, Status: 500}}, []int{500, 500, 500}},
		{"once", []azuresim.Rule{{Path: plan, Status: 409, Times: 1}}, []int{409, 200}},
		{"the second and third", []azuresim.Rule{{Path: plan, Status: 503, Skip: 1, Times: 2}}, []int{200, 503, 503, 200}},
		{"one rule after the other", []azuresim.Rule{
			{Path: plan, Status: 429, Times: 1}, {Path: plan, Status: 500, Times: 1},
		}, []int{429, 500, 200}},
		{"cut", []azuresim.Rule{{Path: plan, Drop: azuresim.DropBefore, Times: 1}}, []int{0, 200}},
		{"another method", []azuresim.Rule{{Method: "GET", Path: plan, Status: 500}}, []int{200}},
		{"another path", []azuresim.Rule{{Path: regexp.MustCompile(`/sites/`), Status: 500}}, []int{200}},
		{"another host", []azuresim.Rule{{Host: regexp.MustCompile(`azurewebsites`), Status: 500}}, []int{200}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, azuresim.Config{})
			a.SetFaults(azuresim.Faults{Rules: row.rules})
			var got []int
			for range row.want {
				// net/http repeats a call only if it could not send it. After a cut connection it does not repeat a PUT.
				result, err := a.do("PUT", path, a.token, planBody("B1"))
				if err != nil {
					result.status = 0
				}
				got = append(got, result.status)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("statuses %v, want %v", got, row.want)
			}
			calls := a.Calls()
			if last := calls[len(calls)-1].Status; last != row.want[len(row.want)-1] {
				t.Errorf("last call is listed with %d", last)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	const code = "SubscriptionRequestsThrottled"
	rule := azuresim.Rule{Status: 429, RetryAfter: 7 * time.Second, Code: code, Message: "Slow down."}
	a.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{rule}})
	result := a.arm("GET", planPath("p")+webAPI, nil)
	after := result.header.Get("Retry-After")
	if result.status != 429 || result.code != code || after != "7" || result.message != "Slow down." {
		t.Errorf("%d %s: %s, Retry-After %q", result.status, result.code, result.message, after)
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	for drop, exists := range map[azuresim.Drop]bool{azuresim.DropBefore: false, azuresim.DropAfter: true} {
		a.must("DELETE", planPath("p")+webAPI, nil)
		a.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{Method: "PUT", Drop: drop}}})
		if result, err := a.do("PUT", planPath("p")+webAPI, a.token, planBody("B1")); err == nil {
			t.Errorf("drop %d: answered %d", drop, result.status)
		}
		if result := a.arm("GET", planPath("p")+webAPI, nil); (result.status == http.StatusOK) != exists {
			t.Errorf("drop %d: then GET is %d, want that it exists: %v", drop, result.status, exists)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var slept []time.Duration
	a := start(t, azuresim.Config{
		Sleep: func(_ context.Context, d time.Duration) { mu.Lock(); defer mu.Unlock(); slept = append(slept, d) },
	})
	a.SetFaults(azuresim.Faults{
		Latency: func(method, _ string) time.Duration {
			if method == http.MethodPut {
				return 30 * time.Second
			}
			return 0
		},
		Rules: []azuresim.Rule{{Path: regexp.MustCompile(`/p$`), Delay: time.Second}, {Delay: time.Minute, Status: 500}},
	})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("GET", planPath("p")+webAPI, nil)
	a.arm("GET", planPath("q")+webAPI, nil)
	if want := []time.Duration{31 * time.Second, time.Second, time.Minute}; !slices.Equal(slept, want) {
		t.Errorf("slept %v, want %v", slept, want)
	}
}

func TestHooksAroundWrites(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	var events []string
	exists := func() string {
		for _, r := range a.Resources() {
			if r.Name == "p" {
				return "exists"
			}
		}
		return "is not there"
	}
	a.SetFaults(azuresim.Faults{
		BeforeWrite: func(method, _ string) { events = append(events, method+": "+exists()) },
		AfterWrite: func(method, _ string, status int) {
			events = append(events, method+" done, "+http.StatusText(status)+": "+exists())
		},
	})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("GET", planPath("p")+webAPI, nil)
	a.arm("PUT", planPath("p")+webAPI, planBody("B9"))
	want := []string{"PUT: is not there", "PUT done, OK: exists", "PUT: exists", "PUT done, Bad Request: exists"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}
