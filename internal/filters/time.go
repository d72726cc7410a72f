package filters

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// layouts are the forms of RFC 3339 that Docker reads: shortened from the right, with and without a zone. Go reads
// fractions of a second that a layout does not name.
var layouts = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"}

const zone = "Z07:00"

// maxFraction is the largest number of decimals that Docker reads.
const maxFraction = 20

// ParseTime reads a time as Docker does: a duration before now, such as 24h; RFC 3339, which may be shortened from
// the right down to the day; or seconds since 1970, with decimals. The number 0 is 1970 and not a duration. A time
// without a zone is in now's zone, so the caller passes the time in the daemon's zone. The result is in UTC and
// between 1677 and 2262, so that its nanoseconds since 1970 fit into 64 bits. Other values are an InvalidParameter
// error.
func ParseTime(value string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(value); err == nil && value != "0" {
		return bounded(now.Add(-ago)), nil
	}
	here := time.FixedZone(now.Zone())
	for _, layout := range layouts {
		if t, err := time.Parse(layout+zone, value); err == nil {
			return bounded(t), nil
		}
		if t, err := time.ParseInLocation(layout, value, here); err == nil {
			return bounded(t), nil
		}
	}
	if t, ok := parseSeconds(value); ok {
		return bounded(t), nil
	}
	return time.Time{}, api.Errorf(api.InvalidParameter,
		"%q is not a valid time: give a duration such as 24h, RFC 3339, or seconds since 1970", value)
}

// parseSeconds reads seconds since 1970. Of the decimals, the first nine count.
func parseSeconds(value string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(value, ".")
	if !digits(strings.TrimPrefix(whole, "+")) || !digits(fraction) && fraction != "" || len(fraction) > maxFraction {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(min(seconds, math.MaxInt64/int64(time.Second)), nanos), true
}

func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// bounded returns t in UTC, or the nearest time whose nanoseconds since 1970 fit into 64 bits.
func bounded(t time.Time) time.Time {
	first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
	switch {
	case t.Before(first):
		t = first
	case t.After(last):
		t = last
	}
	return t.UTC()
}

// until reads the until filter of a prune, which takes one value at most. The zero time means that there is none.
func until(given api.Filters, now time.Time) (time.Time, error) {
	switch values := given["until"]; len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		return untilTime(values[0], now)
	default:
		return time.Time{}, api.Errorf(api.InvalidParameter, "more than one until filter specified")
	}
}

func untilTime(value string, now time.Time) (time.Time, error) {
	t, err := ParseTime(value, now)
	if err != nil {
		return t, api.Errorf(api.InvalidParameter, "invalid filter 'until=%s': %w", value, err)
	}
	return t, nil
}
