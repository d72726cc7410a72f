package server

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// decode reads one JSON value. Unknown fields are ignored, as Docker does.
func decode(body io.Reader, into any) error {
	dec := json.NewDecoder(body)
	err := dec.Decode(into)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return api.Errorf(api.InvalidParameter, "unexpected content after the JSON body, at byte %d", dec.InputOffset())
		}
		return nil
	}
	if _, ok := errors.AsType[*echo.HTTPError](err); ok {
		return err // the body limit
	}
	if errors.Is(err, io.EOF) {
		return api.Errorf(api.InvalidParameter, "invalid JSON: got EOF while reading request body")
	}
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return api.Errorf(api.InvalidParameter, "invalid JSON: field %s takes no %s, at byte %d", wrongType.Field, wrongType.Value, wrongType.Offset)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return api.Errorf(api.InvalidParameter, "invalid JSON: %w, at byte %d", err, syntax.Offset)
	}
	return api.Errorf(api.InvalidParameter, "invalid JSON: %w", err)
}

// boolean reads a query parameter as Docker does: everything but these words is true.
func boolean(c echo.Context, name string) bool {
	switch strings.ToLower(strings.TrimSpace(c.QueryParam(name))) {
	case "", "0", "no", "false", "none":
		return false
	default:
		return true
	}
}

func number(c echo.Context, name string, missing int) (int, error) {
	value := c.QueryParam(name)
	if value == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, api.Errorf(api.InvalidParameter, "query parameter %s: %q is not a whole number", name, value)
	}
	return n, nil
}

// moment reads a time as Docker does: seconds since 1970 with up to nine decimals, or RFC 3339. Zero means none.
func moment(c echo.Context, name string) (time.Time, error) {
	value := c.QueryParam(name)
	if value == "" || value == "0" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return t, nil
	}
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseUint(whole, 10, 32)
	nanos, fractionErr := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil || fractionErr != nil || len(fraction) > 9 {
		return time.Time{}, api.Errorf(api.InvalidParameter, "query parameter %s: %q is no time: give seconds since 1970 or RFC 3339", name, value)
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), nil
}

// filters reads the query parameter of that name.
func filters(c echo.Context) (api.Filters, error) {
	return parseFilters(c.QueryParam("filters"))
}

// parseFilters reads both of Docker's forms of filters: {"name": ["a", "b"]} and, of old clients, {"name": {"a": true}}.
func parseFilters(text string) (api.Filters, error) {
	if text == "" {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := decode(strings.NewReader(text), &fields); err != nil {
		return nil, api.Errorf(api.InvalidParameter, "query parameter filters: %w", err)
	}
	out := api.Filters{}
	for name, field := range fields {
		var values []string
		if json.Unmarshal(field, &values) != nil {
			var set map[string]bool
			if err := json.Unmarshal(field, &set); err != nil {
				return nil, api.Errorf(api.InvalidParameter, "query parameter filters: %q takes a list of strings", name)
			}
			values = nil
			for value, on := range set {
				if on {
					values = append(values, value)
				}
			}
			slices.Sort(values)
		}
		if len(values) > 0 {
			out[name] = values
		}
	}
	return out, nil
}
