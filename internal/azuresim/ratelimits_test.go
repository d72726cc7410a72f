package azuresim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// left returns what an answer says about the requests that may follow, of one principal and of all of them.
func left(of answer, operation string) string {
	const prefix = "x-ms-ratelimit-remaining-subscription-"
	return of.header.Get(prefix+operation) + " " + of.header.Get(prefix+"global-"+operation)
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	clock := azuretest.NewClock()
	a := start(t, azuresim.Config{RateLimits: true, Now: clock.Now})
	listKeys := groupPath + "/providers/Microsoft.Storage/storageAccounts/" + azuresim.DefaultStorageAccount + "/listKeys"
	for _, row := range []struct {
		method, path, operation string
		size, rate              int
	}{
		{"GET", planPath("none") + webAPI, "reads", 250, 25},
		{"POST", listKeys + "?api-version=2025-08-01", "writes", 200, 10},
		{"DELETE", planPath("none") + webAPI, "deletes", 200, 10},
	} {
		t.Run(row.operation, func(t *testing.T) {
			for n := range row.size {
				want := fmt.Sprint(row.size-1-n, " ", 15*row.size-1-n)
				if result := a.arm(row.method, row.path, nil); result.status == 429 || left(result, row.operation) != want {
					t.Fatalf("request %d: %d, left are %q, want %q", n, result.status, left(result, row.operation), want)
				}
			}
			clock.Advance(time.Millisecond)
			result := a.arm(row.method, row.path, nil)
			words := fmt.Sprintf("Number of '%s' requests for subscription '%s' actor '", strings.TrimSuffix(row.operation, "s"),
				azuresim.DefaultSubscriptionID)
			if result.status != http.StatusTooManyRequests || result.code != "SubscriptionRequestsThrottled" ||
				!strings.HasPrefix(result.message, words) || result.header.Get("Retry-After") != "1" {
				t.Errorf("one too many: %d %s %s, Retry-After %q", result.status, result.code, result.message,
					result.header.Get("Retry-After"))
			}
			clock.Advance(time.Second)
			for n := range row.rate {
				if result := a.arm(row.method, row.path, nil); result.status == 429 {
					t.Fatalf("request %d after a second: %s", n, result.message)
				}
			}
			if result := a.arm(row.method, row.path, nil); result.status != 429 {
				t.Errorf("one too many after a second: %d", result.status)
			}
			clock.Advance(time.Minute)
			if result := a.arm(row.method, row.path, nil); left(result, row.operation) !=
				fmt.Sprint(row.size-1, " ", 15*row.size-1) {
				t.Errorf("after a minute left are %q", left(result, row.operation))
			}
		})
	}
}

func TestRateLimitsAreNotEnforcedUnasked(t *testing.T) {
	t.Parallel()
	clock := azuretest.NewClock()
	a := start(t, azuresim.Config{Now: clock.Now})
	for range 201 {
		a.must("DELETE", planPath("none")+webAPI, nil)
	}
	result := a.arm("DELETE", planPath("none")+webAPI, nil)
	if result.status != http.StatusNoContent || left(result, "deletes") != "0 2798" {
		t.Errorf("%d, left are %q", result.status, left(result, "deletes"))
	}
}
