package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
	dockerfilters "github.com/sockerless/backend-azf/internal/filters"
)

// decode reads the request's body, one JSON value of at most maxBody bytes.
func decode(c echo.Context, into any) error {
	return decodeJSON(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody), into)
}

// embedded removes the names of Go's embedded structs, which field names in JSON do not have.
var embedded = strings.NewReplacer(
	".CreateRequest.Config.", ".", ".CreateRequest.", ".", ".Config.", ".", ".Resources.", ".",
)

// decodeJSON reads one JSON value. Unknown fields are ignored, as Docker does.
func decodeJSON(body io.Reader, into any) error {
	counted := &counter{Reader: body}
	dec := json.NewDecoder(counted)
	err := dec.Decode(into)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return api.Errorf(api.InvalidParameter, "unexpected content after the JSON body, at byte %d", dec.InputOffset())
		}
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return echo.ErrStatusRequestEntityTooLarge
	}
	if errors.Is(err, io.EOF) {
		return api.Errorf(api.InvalidParameter, "invalid JSON: got EOF while reading request body")
	}
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := "field " + embedded.Replace("." + wrongType.Field)[1:]
		if wrongType.Field == "" {
			field = "the body"
		}
		return api.Errorf(api.InvalidParameter,
			"invalid JSON: %s takes no %s, at byte %d", field, wrongType.Value, wrongType.Offset)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return api.Errorf(api.InvalidParameter, "invalid JSON: %w, at byte %d", err, syntax.Offset)
	}
	return api.Errorf(api.InvalidParameter, "invalid JSON: %w, at byte %d", err, counted.n)
}

// counter counts the bytes that were read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// forms reads the parameters of a request, which stand in the query or in a body of type
// application/x-www-form-urlencoded. As in Docker, those in the body come first. Parameters that cannot be read are an
// error, because a request without them may ask for more: a prune without its filters removes everything.
func forms(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		return parsed(c, next)
	}
}

// queries is forms for requests whose body is JSON. It reads the query alone: curl sends JSON as a form unless it is
// told otherwise.
func queries(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Request().PostForm = url.Values{}
		return parsed(c, next)
	}
}

func parsed(c echo.Context, next echo.HandlerFunc) error {
	err := c.Request().ParseForm()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return echo.ErrStatusRequestEntityTooLarge
	}
	if err != nil && !strings.HasPrefix(err.Error(), "mime:") { // a body of another type holds no parameters
		return api.Errorf(api.InvalidParameter, "invalid parameters: %w", err)
	}
	return next(c)
}

// param returns a parameter of the request, or "".
func param(c echo.Context, name string) string { return c.Request().Form.Get(name) }

// checkJSON refuses a body that is not declared as JSON, with Docker's rules and words. A web page can send other types
// to any address without asking.
func checkJSON(c echo.Context) error {
	r := c.Request()
	given := r.Header.Get(echo.HeaderContentType)
	if given == "" && r.ContentLength == 0 {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(given)
	if err != nil {
		return api.Errorf(api.InvalidParameter, "malformed Content-Type header (%s): %w", given, err)
	}
	if mediaType != echo.MIMEApplicationJSON {
		return api.Errorf(api.InvalidParameter, "unsupported Content-Type header (%s): must be '%s'",
			given, echo.MIMEApplicationJSON)
	}
	return nil
}

// boolean reads a parameter as Docker does: every value but these words is true.
func boolean(c echo.Context, name string) bool {
	switch strings.ToLower(strings.TrimSpace(param(c, name))) {
	case "", "0", "no", "false", "none":
		return false
	default:
		return true
	}
}

// number reads a whole number from a parameter. It returns missing when the parameter is absent.
func number(c echo.Context, name string, missing int) (int, error) {
	value := param(c, name)
	if value == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, api.Errorf(api.InvalidParameter, "parameter %s: %q is not a whole number", name, value)
	}
	return n, nil
}

// optionalNumber is number, but returns nil when the parameter is absent.
func optionalNumber(c echo.Context, name string) (*int, error) {
	if param(c, name) == "" {
		return nil, nil
	}
	n, err := number(c, name, 0)
	return &n, err
}

// required returns a parameter, or an error when it is absent.
func required(c echo.Context, name string) (string, error) {
	value := param(c, name)
	if value == "" {
		return "", api.Errorf(api.InvalidParameter, "parameter %s is missing", name)
	}
	return value, nil
}

// moment reads a time as Docker does. The zero time means that the parameter is not given.
func moment(c echo.Context, name string) (time.Time, error) {
	value := param(c, name)
	if value == "" {
		return time.Time{}, nil
	}
	t, err := dockerfilters.ParseTime(value, time.Now())
	if err != nil {
		return time.Time{}, fmt.Errorf("parameter %s: %w", name, err)
	}
	return t, nil
}

// logBound is moment, but reads 0 as no bound. Docker does that for logs only.
func logBound(c echo.Context, name string) (time.Time, error) {
	if param(c, name) == "0" {
		return time.Time{}, nil
	}
	return moment(c, name)
}

// pathParam returns a part of the path without escapes. A part with an invalid escape is returned unchanged.
func pathParam(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath != "" { // echo then matches the raw path, and its parameters keep their escapes
		if plain, err := url.PathUnescape(value); err == nil {
			return plain
		}
	}
	return value
}

// containerRef returns the id or name of a container in the path.
func containerRef(c echo.Context) string { return pathParam(c, "id") }

// filters reads the parameter filters.
func filters(c echo.Context) (api.Filters, error) {
	return parseFilters(param(c, "filters"))
}

// parseFilters reads both of Docker's forms of filters: {"name": ["a", "b"]}, and {"name": {"a": true}} of old
// clients.
func parseFilters(text string) (api.Filters, error) {
	if text == "" {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := decodeJSON(strings.NewReader(text), &fields); err != nil {
		return nil, api.Errorf(api.InvalidParameter, "parameter filters: %w", err)
	}
	out := api.Filters{}
	for name, field := range fields {
		var values []string
		if json.Unmarshal(field, &values) != nil {
			var set map[string]bool
			if err := json.Unmarshal(field, &set); err != nil {
				return nil, api.Errorf(api.InvalidParameter, "parameter filters: %q takes a list of strings", name)
			}
			values = slices.Sorted(maps.Keys(set)) // Docker looks at the keys
		}
		out[name] = values // without values too, so that an unknown filter is refused
	}
	return out, nil
}
