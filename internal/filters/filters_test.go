package filters

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// createdAt finds what is named after an hour before noon, such as "3".
func createdAt(ref string) (time.Time, error) {
	hours := strings.Index("0123456789", ref)
	if hours < 0 {
		return time.Time{}, api.Errorf(api.NotFound, "No such thing: %s", ref)
	}
	return noon.Add(-time.Duration(hours) * time.Hour), nil
}

// lookup knows one image, by two names.
var lookup = Lookup{Created: createdAt, ImageID: func(ref string) (string, error) {
	switch ref {
	case "docker.io/library/alpine:latest", "alpine", "cdcd", "sha256:cdcd", "local:1":
		return "sha256:" + strings.Repeat("cd", 32), nil
	case "alpine:3":
		return "sha256:" + strings.Repeat("ef", 32), nil
	}
	return "", nil
}}

func TestLabels(t *testing.T) {
	have := map[string]string{"app": "web", "empty": "", "eq": "a=b"}
	for _, row := range []struct {
		with, without []string
		want          bool
	}{
		{nil, nil, true},
		{[]string{"app"}, nil, true},
		{[]string{"app=web"}, nil, true},
		{[]string{"app=job"}, nil, false},
		{[]string{"app=web", "empty"}, nil, true},
		{[]string{"app=web", "none"}, nil, false},
		{[]string{"empty="}, nil, true},
		{[]string{"app="}, nil, false},
		{[]string{"eq=a=b"}, nil, true},
		{nil, []string{"none"}, true},
		{nil, []string{"app=job"}, true},
		{nil, []string{"none", "app"}, false},
		{[]string{"app"}, []string{"empty"}, false},
	} {
		if got := (labels{row.with, row.without}).match(have); got != row.want {
			t.Errorf("%q without %q: got %t", row.with, row.without, got)
		}
	}
}

func TestContainers(t *testing.T) {
	c := Container{
		ID: strings.Repeat("ab", 32), Name: "web-1", Image: "alpine", ImageID: "sha256:" + strings.Repeat("cd", 32),
		Labels: map[string]string{"app": "web"}, Created: noon.Add(-2 * time.Hour), State: "exited", ExitCode: 3, Ended: true,
		Networks: []string{"bridge"}, Exposed: []string{"80/tcp"},
	}
	for _, row := range []struct {
		given api.Filters
		want  bool
	}{
		{nil, true},
		{api.Filters{"id": {"abab"}}, true},
		{api.Filters{"id": {"^b"}}, false},
		{api.Filters{"name": {"eb"}}, true},
		{api.Filters{"name": {"^/web-1$"}}, true},
		{api.Filters{"name": {"job", "web"}}, true},
		{api.Filters{"name": {"web"}, "status": {"running"}}, false},
		{api.Filters{"status": {"running", "exited"}}, true},
		{api.Filters{"exited": {"3"}}, true},
		{api.Filters{"exited": {"0"}}, false},
		{api.Filters{"ancestor": {"docker.io/library/alpine:latest"}}, true},
		{api.Filters{"ancestor": {"cdcd"}}, true},
		{api.Filters{"ancestor": {"sha256:cdcd"}}, true},
		{api.Filters{"ancestor": {"sha256:"}}, false},
		{api.Filters{"ancestor": {"alpine:3"}}, false},
		{api.Filters{"ancestor": {"local:1"}}, true},
		{api.Filters{"ancestor": {"unknown"}}, false},
		{api.Filters{"ancestor": {"unknown", "alpine"}}, true},
		{api.Filters{"health": {"none"}}, true},
		{api.Filters{"health": {"healthy"}}, false},
		{api.Filters{"network": {"bridge"}}, true},
		{api.Filters{"network": {"mine"}}, false},
		{api.Filters{"volume": {"data"}}, false},
		{api.Filters{"expose": {"80"}}, true},
		{api.Filters{"expose": {"79-81/tcp"}}, true},
		{api.Filters{"expose": {"80/udp"}}, false},
		{api.Filters{"publish": {"80"}}, false},
		{api.Filters{"is-task": {"false"}}, true},
		{api.Filters{"is-task": {"true"}}, false},
		{api.Filters{"isolation": {"default"}}, true},
		{api.Filters{"label": {}}, true},
		{api.Filters{"label": {"app=web"}}, true},
		{api.Filters{"label": {"app=job"}}, false},
		{api.Filters{"before": {"1"}}, true},
		{api.Filters{"before": {"2"}}, false},
		{api.Filters{"since": {"3"}}, true},
		{api.Filters{"since": {"3"}, "before": {"3"}}, false},
	} {
		match, err := Containers(row.given, lookup)
		if err != nil || match(c) != row.want {
			t.Errorf("%v: got %v, want %t", row.given, err, row.want)
		}
	}
	running := c
	running.State, running.ExitCode = "running", 3
	if match, err := Containers(api.Filters{"exited": {"3"}}, lookup); err != nil || match(running) {
		t.Errorf("exited: a running container is selected, %v", err)
	}
}

func TestRefusals(t *testing.T) {
	list := func(given api.Filters) error { _, err := Containers(given, lookup); return err }
	prune := func(given api.Filters) error { _, err := PruneContainers(given, noon); return err }
	images := func(given api.Filters) error { _, err := Images(given, noon, createdAt); return err }
	pruneImages := func(given api.Filters) error { _, err := PruneImages(given, noon); return err }
	events := func(given api.Filters) error { _, err := Events(given); return err }
	for _, row := range []struct {
		read  func(api.Filters) error
		given api.Filters
		kind  api.Kind
		want  string
	}{
		{list, api.Filters{"colour": {"red"}}, api.InvalidParameter, "invalid filter 'colour': use one of ancestor, before"},
		{list, api.Filters{"status": {"asleep"}}, api.InvalidParameter, "invalid filter 'status=asleep'"},
		{list, api.Filters{"exited": {"many"}}, api.InvalidParameter, "invalid filter 'exited=many'"},
		{list, api.Filters{"name": {"("}}, api.InvalidParameter, "invalid filter 'name=('"},
		{list, api.Filters{"colour": {}}, api.InvalidParameter, "invalid filter 'colour'"},
		{list, api.Filters{"health": {"fine"}}, api.InvalidParameter, "invalid filter 'health=fine'"},
		{list, api.Filters{"expose": {"1.2.3.4:80"}}, api.InvalidParameter, "invalid filter 'expose=1.2.3.4:80'"},
		{list, api.Filters{"publish": {"many"}}, api.InvalidParameter, "invalid filter 'publish=many'"},
		{list, api.Filters{"is-task": {"maybe"}}, api.InvalidParameter, "invalid filter 'is-task=maybe'"},
		{prune, api.Filters{"label": {}}, api.InvalidParameter, "invalid filter 'label': it has no value"},
		{prune, api.Filters{"label!": {}}, api.InvalidParameter, "invalid filter 'label!': it has no value"},
		{prune, api.Filters{"until": {}}, api.InvalidParameter, "invalid filter 'until': it has no value"},
		{pruneImages, api.Filters{"dangling": {}}, api.InvalidParameter, "invalid filter 'dangling': it has no value"},
		{images, api.Filters{"dangling": {"true", "false"}}, api.InvalidParameter, "invalid filter 'dangling=true,false'"},
		{list, api.Filters{"before": {"nobody"}}, api.NotFound, "No such thing: nobody"},
		{prune, api.Filters{"name": {"web"}}, api.InvalidParameter, "invalid filter 'name': use one of label, label!, until"},
		{prune, api.Filters{"until": {"soon"}}, api.InvalidParameter,
			`invalid filter 'until=soon': "soon" is not a valid time`},
		{prune, api.Filters{"until": {"1h", "2h"}}, api.InvalidParameter, "more than one until filter specified"},
		{images, api.Filters{"dangling": {"maybe"}}, api.InvalidParameter,
			"invalid filter 'dangling=maybe': use true or false"},
		{images, api.Filters{"reference": {"["}}, api.InvalidParameter, "invalid filter 'reference=['"},
		{images, api.Filters{"until": {"soon"}}, api.InvalidParameter, "invalid filter 'until=soon'"},
		{images, api.Filters{"since": {"nobody"}}, api.NotFound, "No such thing: nobody"},
		{pruneImages, api.Filters{"reference": {"alpine"}}, api.InvalidParameter, "invalid filter 'reference'"},
		{pruneImages, api.Filters{"until": {"1h", "2h"}}, api.InvalidParameter, "more than one until filter specified"},
		{events, api.Filters{"colour": {"red"}}, api.InvalidParameter, "invalid filter 'colour'"},
	} {
		err := row.read(row.given)
		if api.KindOf(err) != row.kind || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%v: got %v, want %q", row.given, err, row.want)
		}
	}
	broken := errors.New("the database is down")
	fails := func(string) (time.Time, error) { return time.Time{}, broken }
	if _, err := Containers(api.Filters{"since": {"web"}}, Lookup{Created: fails}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := Images(api.Filters{"before": {"web"}}, noon, fails); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestPruneContainers(t *testing.T) {
	c := Container{Created: noon.Add(-2 * time.Hour), Labels: map[string]string{"ci": "1"}}
	for _, row := range []struct {
		given api.Filters
		want  bool
	}{
		{nil, true},
		{api.Filters{"until": {"1h"}}, true},
		{api.Filters{"until": {"2h"}}, false}, // the bound is exclusive
		{api.Filters{"until": {"0"}}, false},
		{api.Filters{"until": {"2026-11-25T11:00Z"}}, true},
		{api.Filters{"label": {"ci=1"}}, true},
		{api.Filters{"label": {"ci=1"}, "until": {"3h"}}, false},
		{api.Filters{"label!": {"ci"}}, false},
		{api.Filters{"label!": {"ci=2"}}, true},
	} {
		match, err := PruneContainers(row.given, noon)
		if err != nil || match(c) != row.want {
			t.Errorf("%v: got %v, want %t", row.given, err, row.want)
		}
	}
}

func TestImages(t *testing.T) {
	img := Image{
		Tags: []string{"alpine:3", "example.com/team/app:1"}, Digests: []string{}, Created: noon.Add(-2 * time.Hour),
		Labels: map[string]string{"app": ""},
	}
	for _, row := range []struct {
		given api.Filters
		want  string // the tags that are listed, empty if the image is not selected
	}{
		{nil, "alpine:3 example.com/team/app:1"},
		{api.Filters{"dangling": {"true"}}, ""},
		{api.Filters{"dangling": {"0"}}, "alpine:3 example.com/team/app:1"},
		{api.Filters{"label": {"app"}}, "alpine:3 example.com/team/app:1"},
		{api.Filters{"label": {"none"}}, ""},
		{api.Filters{"before": {"1"}}, "alpine:3 example.com/team/app:1"},
		{api.Filters{"before": {"1", "2"}}, ""},
		{api.Filters{"since": {"3", "2"}}, ""},
		{api.Filters{"until": {"1h"}}, "alpine:3 example.com/team/app:1"},
		{api.Filters{"until": {"1h", "3h"}}, ""},
		{api.Filters{"reference": {"alp*"}}, "alpine:3"},
		{api.Filters{"reference": {"alp*", "example.com/team/*"}}, "alpine:3 example.com/team/app:1"},
		{api.Filters{"reference": {"docker.io/library/alpine"}}, ""},
	} {
		f, err := Images(row.given, noon, createdAt)
		if err != nil || f.Match(img) != (row.want != "") {
			t.Errorf("%v: got %v, want %q", row.given, err, row.want)
		}
		if got := f.Names(img.Tags); row.want != "" && !slices.Equal(got, strings.Fields(row.want)) {
			t.Errorf("%v: got %q, want %q", row.given, got, row.want)
		}
	}
}

func TestPruneImages(t *testing.T) {
	tagged := Image{Tags: []string{"alpine:3"}, Created: noon.Add(-2 * time.Hour), Labels: map[string]string{"n": "1"}}
	untagged := Image{Created: noon.Add(-2 * time.Hour), Labels: map[string]string{"n": "2"}}
	for _, row := range []struct {
		given            api.Filters
		tagged, untagged bool
	}{
		{nil, false, true},
		{api.Filters{"dangling": {"true"}}, false, true},
		{api.Filters{"dangling": {"false"}}, true, true},
		{api.Filters{"dangling": {"false"}, "label": {"n=1"}}, true, false},
		{api.Filters{"dangling": {"false"}, "label!": {"n=1"}}, false, true},
		{api.Filters{"dangling": {"false"}, "until": {"2h"}}, false, false},
		{api.Filters{"until": {"1h"}}, false, true},
	} {
		match, err := PruneImages(row.given, noon)
		if err != nil || match(tagged) != row.tagged || match(untagged) != row.untagged {
			t.Errorf("%v: got %v, want tagged %t, untagged %t", row.given, err, row.tagged, row.untagged)
		}
	}
}

func TestEvents(t *testing.T) {
	id := strings.Repeat("ab", 32)
	container := api.Event{Type: api.ContainerEvent, Action: api.EventDie}
	container.Actor.ID = id
	container.Actor.Attributes = map[string]string{"name": "web", "image": "alpine", "app": "x"}
	image := api.Event{Type: api.ImageEvent, Action: api.EventPull}
	image.Actor.ID, image.Actor.Attributes = "sha256:"+id, map[string]string{"name": "alpine:latest"}
	container.Scope, image.Scope = "local", "local"
	for _, row := range []struct {
		given            api.Filters
		container, image bool
	}{
		{nil, true, true},
		{api.Filters{"type": {"container"}}, true, false},
		{api.Filters{"event": {"die", "pull"}}, true, true},
		{api.Filters{"container": {"web"}}, true, false},
		{api.Filters{"container": {"/web"}}, true, false},
		{api.Filters{"container": {"abab"}}, true, false},
		{api.Filters{"container": {"alpine:latest"}}, false, false},
		{api.Filters{"image": {"docker.io/library/alpine"}}, true, true},
		{api.Filters{"image": {"sha256:" + id}}, false, true},
		{api.Filters{"image": {"alpine:3"}}, false, false},
		{api.Filters{"image": {"alpine"}}, true, true},
		{api.Filters{"container": {"we"}}, true, false},
		{api.Filters{"network": {"bridge"}}, false, false},
		{api.Filters{"daemon": {"web"}}, false, false},
		{api.Filters{"scope": {"local"}}, true, true},
		{api.Filters{"scope": {"swarm"}}, false, false},
		{api.Filters{"label": {"app=x"}}, true, false},
		{api.Filters{"label": {"app=x"}, "event": {"start"}}, false, false},
	} {
		match, err := Events(row.given)
		if err != nil || match(container) != row.container || match(image) != row.image {
			t.Errorf("%v: got %v, want container %t, image %t", row.given, err, row.container, row.image)
		}
	}
}
