package api

import (
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time as Docker's clients send it: seconds since 1970 with up to nine decimals, or RFC 3339, also without
// zone (then UTC) and down to the day. Others are an InvalidParameter error.
func ParseTime(value string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC(), nil
		}
	}
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseUint(whole, 10, 33)
	nanos, fractionErr := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil || fractionErr != nil || len(fraction) > 9 {
		return time.Time{}, Errorf(InvalidParameter, "%q is no time: give seconds since 1970 or RFC 3339", value)
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), nil
}
