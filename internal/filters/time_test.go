package filters

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestParseTime(t *testing.T) {
	// Half past two in a zone two hours and a half ahead of UTC.
	now := time.Date(2026, 11, 25, 14, 30, 0, 0, time.FixedZone("", 9000))
	for value, want := range map[string]string{
		// Durations before now. A negative one is in the future.
		"24h": "2026-11-24T12:00:00Z", "1h30m": "2026-11-25T10:30:00Z", "0s": "2026-11-25T12:00:00Z",
		"-1h": "2026-11-25T13:00:00Z", "1.5s": "2026-11-25T11:59:58.5Z",
		// Seconds since 1970; 0 is not a duration.
		"0": "1970-01-01T00:00:00Z", "24": "1970-01-01T00:00:24Z", "1136073600": "2006-01-01T00:00:00Z",
		"0.5":                  "1970-01-01T00:00:00.5Z",
		"1136073600.000000001": "2006-01-01T00:00:00.000000001Z", "1136073600.1": "2006-01-01T00:00:00.1Z",
		"1136073600.1234567899": "2006-01-01T00:00:00.123456789Z", "1136073600.": "2006-01-01T00:00:00Z",
		"1136073600.00000000012345678901": "2006-01-01T00:00:00Z",
		// RFC 3339 with a zone, shortened from the right.
		"2006-01-02T15:04:05Z":                "2006-01-02T15:04:05Z",
		"2006-01-02T15:04:05.999999999+07:00": "2006-01-02T08:04:05.999999999Z",
		"2006-01-02T15:04:05-02:00":           "2006-01-02T17:04:05Z", "2006-01-02T15:04Z": "2006-01-02T15:04:00Z",
		"2006-01-02T15:04-02:00": "2006-01-02T17:04:00Z", "2006-01-02T15+01:00": "2006-01-02T14:00:00Z",
		"2006-01-02T15Z": "2006-01-02T15:00:00Z", "2006-01-02Z": "2006-01-02T00:00:00Z",
		"2006-01-02+01:00": "2006-01-01T23:00:00Z", "2006-01-02-01:00": "2006-01-02T01:00:00Z",
		// Without a zone it is now's.
		"2006-01-02T15:04:05": "2006-01-02T12:34:05Z", "2006-01-02T15:04:05.25": "2006-01-02T12:34:05.25Z",
		"2006-01-02T15:04": "2006-01-02T12:34:00Z", "2006-01-02T15": "2006-01-02T12:30:00Z",
		"2006-01-02": "2006-01-01T21:30:00Z",
		// The bounds of what fits into 64 bits of nanoseconds.
		"9999-12-31": "2262-04-11T23:47:16.854775807Z", "9223372036854775807": "2262-04-11T23:47:16Z",
		"1764072000000": "2262-04-11T23:47:16Z", "0001-01-01T00:00:00Z": "1677-09-21T00:12:43.145224192Z",
	} {
		got, err := ParseTime(value, now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: got %s, %v; want %s", value, got.Format(time.RFC3339Nano), err, want)
		}
	}
}

func TestWhatIsNotATime(t *testing.T) {
	for _, value := range []string{
		"", " ", "soon", "1h30", "2006-13-01", "2006-01-02T25:00", "2006-01-02T15:04:05z", "2006-01-02 15:04:05",
		"2006-1-2", "-5", "1.2.3", "1.-5", "0x10", "1e3", "٣", "1136073600.123456789012345678901", "9223372036854775808",
	} {
		got, err := ParseTime(value, time.Now())
		want := `is not a valid time: give a duration such as 24h, RFC 3339, or seconds since 1970`
		if api.KindOf(err) != api.InvalidParameter || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: got %s, %v; want it refused", value, got, err)
		}
	}
}

// FuzzTime: what is accepted is a time in UTC whose nanoseconds fit into 64 bits.
func FuzzTime(f *testing.F) {
	for _, seed := range []string{"24h", "0", "1136073600.5", "2006-01-02T15:04:05.9+07:00", "2006-01-02", "-1h", "1.",
		"9e9h"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ParseTime(value, now)
		if err != nil {
			if api.KindOf(err) != api.InvalidParameter {
				t.Errorf("%q: %v", value, err)
			}
			return
		}
		if got.Before(time.Unix(0, math.MinInt64)) || got.After(time.Unix(0, math.MaxInt64)) || got.Location() != time.UTC {
			t.Errorf("%q: got %s", value, got)
		}
	})
}
