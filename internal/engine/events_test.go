package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// story reads the rest of a stream of events and returns one word for each.
func story(t *testing.T, stream io.ReadCloser) string {
	t.Helper()
	var words []string
	dec := json.NewDecoder(stream)
	for {
		var e api.Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return strings.Join(words, " ")
		} else if err != nil {
			t.Fatal(err)
		}
		words = append(words, e.Actor.Attributes["name"]+":"+string(e.Action))
	}
}

func TestEventsAreReplayed(t *testing.T) {
	f := setup(t)
	before := f.db.Now()
	id := f.create(t, "web")
	f.create(t, "job")
	between := f.db.Now()
	f.run(t, "web")
	f.wait(t, "web", "")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	now := f.db.Now()
	for _, row := range []struct {
		opts api.EventsOptions
		want string
	}{
		{api.EventsOptions{Until: now}, "web:create job:create web:start web:die web:destroy"},
		{api.EventsOptions{Since: before, Until: now}, "web:create job:create web:start web:die web:destroy"},
		{api.EventsOptions{Until: between}, "web:create job:create"},
		{api.EventsOptions{Until: before.Add(-time.Hour)}, ""},
		{api.EventsOptions{Since: now, Until: now}, ""},
		{api.EventsOptions{Until: now, Filters: api.Filters{"event": {"start", "die"}}}, "web:start web:die"},
		{api.EventsOptions{Until: now, Filters: api.Filters{"container": {"/job"}}}, "job:create"},
		{api.EventsOptions{Until: now, Filters: api.Filters{"container": {id[:12]}, "event": {"create"}}}, "web:create"},
		{
			api.EventsOptions{Until: now, Filters: api.Filters{
				"type": {"container"}, "image": {request.Image}, "event": {"destroy"},
			}},
			"web:destroy",
		},
		{api.EventsOptions{Until: now, Filters: api.Filters{"image": {"other"}}}, ""},
		{api.EventsOptions{Until: now, Filters: api.Filters{"label": {"none"}}}, ""},
	} {
		stream, err := f.SystemEvents(t.Context(), row.opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := story(t, stream); got != row.want {
			t.Errorf("%+v: got %q, want %q", row.opts, got, row.want)
		}
	}
	_, err := f.SystemEvents(t.Context(), api.EventsOptions{Filters: api.Filters{"colour": {"red"}}})
	if api.KindOf(err) != api.InvalidParameter {
		t.Errorf("got %v, want invalid", err)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	f := setup(t)
	f.create(t, "old")
	ctx, leave := context.WithCancel(t.Context())
	stream, err := f.SystemEvents(ctx, api.EventsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.create(t, "new")
	lines := bufio.NewReader(stream)
	line, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(line, `"name":"new"`) || !strings.Contains(line, `"Action":"create"`) {
		t.Errorf("got %s, %v", line, err)
	}
	leave()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the client left: %q, %v", rest, err)
	}
	if stream, err = f.SystemEvents(t.Context(), api.EventsOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := story(t, stream); got != "" {
		t.Errorf("after the daemon's stop: %s", got)
	}
}
