package azuresim

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// allPrincipals is how much more requests all principals of a subscription together may send than each of them.
const allPrincipals = 15

// buckets are Resource Manager's token buckets, by the names of the headers that show what is left in them. There is
// one principal and one subscription, and so one pair of them for each type of operation
// (learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling).
type buckets struct {
	mu   sync.Mutex
	left map[string]bucket
}

// bucket holds tokens as of a time.
type bucket struct {
	tokens float64
	at     time.Time
}

// take fills a bucket of a size at a rate a second, and takes a token out, if there is one. It returns the number of
// tokens that are left, and how long it takes until there is one when there was none.
func (b *buckets) take(name string, size, rate float64, now time.Time) (left int, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tokens := size
	if before, ok := b.left[name]; ok {
		tokens = min(size, before.tokens+rate*max(now.Sub(before.at).Seconds(), 0))
	}
	if tokens < 1 {
		wait = 1 + time.Duration((1-tokens)/rate*float64(time.Second))
	} else {
		tokens--
	}
	b.left[name] = bucket{tokens, now}
	return int(tokens), wait
}

// throttle takes a token for a request, and puts what is left into the header of its answer. If there is none, it
// refuses the request, with Config.RateLimits. POST counts as a write, even if it only lists.
func (s *Sim) throttle(header http.Header, method string) *armError {
	operation, size, rate := "write", 200., 10.
	switch method {
	case http.MethodGet, http.MethodHead:
		operation, size, rate = "read", 250, 25
	case http.MethodDelete:
		operation = "delete"
	}
	const prefix = "X-Ms-Ratelimit-Remaining-Subscription-"
	left, wait := s.buckets.take(prefix+operation+"s", size, rate, s.cfg.Now())
	header.Set(prefix+operation+"s", strconv.Itoa(left))
	if wait > 0 && s.cfg.RateLimits {
		seconds := int(math.Ceil(wait.Seconds()))
		header.Set("Retry-After", strconv.Itoa(seconds))
		return refusal(http.StatusTooManyRequests, "SubscriptionRequestsThrottled",
			"Number of '%s' requests for subscription '%s' actor '%s' exceeded. Please try again after '%d' seconds after "+
				"additional tokens are available. Refer to https://aka.ms/arm-throttling for additional information.",
			operation, s.cfg.SubscriptionID, principalID, seconds)
	}
	left, _ = s.buckets.take(prefix+"Global-"+operation+"s", allPrincipals*size, allPrincipals*rate, s.cfg.Now())
	header.Set(prefix+"Global-"+operation+"s", strconv.Itoa(left))
	return nil
}
