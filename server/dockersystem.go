package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

func (s *Server) dockerEvents(c echo.Context) error {
	stream, err := s.eventStream(c)
	if err != nil {
		return err
	}
	contentType := eventType(c)
	events := &versionedEvents{ReadCloser: stream, dec: json.NewDecoder(stream), version: apiVersion(c)}
	if contentType == jsonSeq {
		events.separator = "\x1e"
	}
	return sendStream(c, contentType, events)
}

// versionedEvents is a stream of events as a version of the API has them.
type versionedEvents struct {
	io.ReadCloser
	dec       *json.Decoder
	version   string
	separator string // before each event
	line      bytes.Buffer
}

// Read returns a part of one event.
func (e *versionedEvents) Read(p []byte) (int, error) {
	if e.line.Len() == 0 {
		var event api.Event
		if err := e.dec.Decode(&event); err != nil {
			return 0, err
		}
		v, err := inVersion(e.version, eventShape, event)
		if err != nil {
			return 0, err
		}
		e.line.WriteString(e.separator)
		if err := json.NewEncoder(&e.line).Encode(v); err != nil {
			return 0, fmt.Errorf("encode event: %w", err)
		}
	}
	return e.line.Read(p)
}

// diskUsageFields are the fields of system/df by the type that asks for them: those of API versions up to 1.51, which
// newer versions leave out for clients that ask for verbose usage records, and the usage record.
var diskUsageFields = map[string]struct {
	legacy []string
	record string
}{
	"container":   {[]string{"Containers"}, "ContainerUsage"},
	"image":       {[]string{"Images", "LayersSize"}, "ImageUsage"},
	"volume":      {[]string{"Volumes"}, "VolumeUsage"},
	"build-cache": {[]string{"BuildCache"}, "BuildCacheUsage"},
}

func (s *Server) dockerDf(c echo.Context) error {
	version := apiVersion(c)
	wanted := map[string]bool{}
	if !less(version, "1.42") {
		for _, name := range c.Request().Form["type"] {
			if _, ok := diskUsageFields[name]; !ok {
				return api.Errorf(api.InvalidParameter, "unknown object type: %s", name)
			}
			wanted[name] = true
		}
	}
	df, err := s.cfg.Backend.SystemDf(c.Request().Context())
	if err != nil {
		return err
	}
	fields, err := asObjects(df)
	if err != nil {
		return err
	}
	out, ok := fields.(object)
	if !ok {
		return fmt.Errorf("disk usage: %T is not an object", fields)
	}
	for name, field := range diskUsageFields {
		unwanted := len(wanted) > 0 && !wanted[name]
		if unwanted || less(version, "1.52") {
			delete(out, field.record)
		}
		if unwanted || !less(version, "1.52") && boolean(c, "verbose") {
			for _, legacy := range field.legacy {
				delete(out, legacy)
			}
		}
	}
	for name, of := range map[string]shape{"Containers": containerSummaryShape, "Images": imageUsageShape} {
		if list, ok := out[name]; ok {
			if out[name], err = inVersion(version, of, list); err != nil {
				return err
			}
		}
	}
	return c.JSON(http.StatusOK, out)
}

// Answers about what does not exist here.
var (
	noVolumes       = object{"Volumes": []object{}, "Warnings": []string{}}
	noVolumesPruned = object{"VolumesDeleted": []string{}, "SpaceReclaimed": 0}
	noCachePruned   = object{"CachesDeleted": []string{}, "SpaceReclaimed": 0}
)

// nothingToPrune answers a prune of what does not exist here with a report of nothing: docker system prune asks for
// every kind of object in turn, and gives up at an error.
func nothingToPrune(report object) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := filters(c); err != nil {
			return err
		}
		return c.JSON(http.StatusOK, report)
	}
}

// noneMatches answers a list of what does not exist here, if it is restricted by filters: docker compose looks for the
// networks of its project although the project has none. A whole list is refused, because Docker's is never empty.
func noneMatches(list any, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method != http.MethodGet {
			return next(c)
		}
		filters, err := filters(c)
		if err != nil {
			return err
		}
		if len(filters) == 0 {
			return next(c)
		}
		return c.JSON(http.StatusOK, list)
	}
}
