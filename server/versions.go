package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// object is a JSON object in an answer.
type object = map[string]any

// shape names a kind of object in answers.
type shape string

const (
	containerShape        shape = "container"
	containerSummaryShape shape = "entry of a list of containers"
	imageShape            shape = "image"
	imageSummaryShape     shape = "entry of a list of images"
	imageUsageShape       shape = "image in the disk usage"
	infoShape             shape = "info"
	eventShape            shape = "event"
)

// difference is what older versions of Docker's API have otherwise than the newest one, which the Backend returns.
type difference struct {
	of     shape
	before string // the first version without the difference
	change func(object)
}

// differences are those of moby, whose routers make the same changes (daemon/server/router). They are applied in order.
var differences = []difference{
	{containerSummaryShape, "1.46", func(o object) { delete(child(o, "HostConfig"), "Annotations") }},
	{containerSummaryShape, "1.52", func(o object) { delete(o, "Health") }},

	{containerShape, "1.52", func(o object) {
		settings := child(o, "NetworkSettings")
		bridge := child(child(settings, "Networks"), "bridge")
		for name, missing := range legacyNetworkSettings {
			settings[name] = or(bridge[name], missing)
		}
		o["GraphDriver"] = object{"Name": o["Driver"], "Data": object{}}
	}},

	{imageSummaryShape, "1.43", func(o object) {
		if empty(o["RepoTags"]) && empty(o["RepoDigests"]) {
			o["RepoTags"], o["RepoDigests"] = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
	}},
	{imageSummaryShape, "1.44", func(o object) { o["VirtualSize"] = o["Size"] }},
	{imageSummaryShape, "1.51", func(o object) { o["Containers"] = -1 }},
	{imageUsageShape, "1.44", func(o object) { o["VirtualSize"] = o["Size"] }},

	{imageShape, "1.44", func(o object) {
		o["VirtualSize"] = o["Size"]
		o["Created"] = or(o["Created"], "0001-01-01T00:00:00Z")
	}},
	{imageShape, "1.45", func(o object) {
		o["Container"], o["ContainerConfig"] = "", object{}
		fill(child(o, "ContainerConfig"), legacyImageConfig, containerFields)
	}},
	{imageShape, "1.50", func(o object) { fill(child(o, "Config"), containerFields) }},
	{imageShape, "1.52", func(o object) {
		fill(child(o, "Config"), legacyImageConfig)
		fill(o, object{"Parent": "", "Comment": "", "DockerVersion": "", "Author": ""})
		o["GraphDriver"] = object{"Name": "azf", "Data": object{}}
	}},

	{infoShape, "1.47", func(o object) {
		fill(child(o, "RegistryConfig"), object{
			"AllowNondistributableArtifactsCIDRs": []string{}, "AllowNondistributableArtifactsHostnames": []string{},
		})
	}},
	{infoShape, "1.49", func(o object) {
		for _, name := range []string{"ContainerdCommit", "RuncCommit", "InitCommit"} {
			child(o, name)["Expected"] = child(o, name)["ID"]
		}
	}},
	// Docker's old clients warn of these when they are false.
	{infoShape, "1.42", func(o object) { o["KernelMemory"] = true }},
	{infoShape, "1.50", func(o object) { o["BridgeNfIptables"], o["BridgeNfIp6tables"] = true, true }},

	{eventShape, "1.52", func(o object) {
		actor := child(o, "Actor")
		o["id"], o["status"] = actor["ID"], o["Action"]
		if o["Type"] == string(api.ContainerEvent) {
			o["from"] = or(child(actor, "Attributes")["image"], "")
		}
	}},
}

// legacyNetworkSettings are the fields of the default bridge that an inspect had beside Networks, and further ones that
// were always empty.
var legacyNetworkSettings = object{
	"EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0,
	"IPv6Gateway": "", "MacAddress": "",
	"Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
}

// legacyImageConfig and containerFields are the fields of an image's configuration that were there when they were not
// set. The containerFields say nothing about an image.
var (
	legacyImageConfig = object{
		"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil,
		"WorkingDir": "",
	}
	containerFields = object{
		"AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "",
		"OpenStdin": false, "StdinOnce": false, "Tty": false,
	}
)

// child returns the object that o has under a name. Where it has none, the returned object belongs to nothing.
func child(o object, name string) object {
	if c, ok := o[name].(object); ok {
		return c
	}
	return object{}
}

// fill adds the fields that o lacks.
func fill(o object, defaults ...object) {
	for _, fields := range defaults {
		for name, value := range fields {
			if _, ok := o[name]; !ok {
				o[name] = value
			}
		}
	}
}

func or(value, missing any) any {
	if value == nil || value == "" {
		return missing
	}
	return value
}

func empty(list any) bool {
	values, ok := list.([]any)
	return !ok || len(values) == 0
}

// apiVersion returns the version of Docker's API in which a request is answered: the one in the path, otherwise the
// newest.
func apiVersion(c echo.Context) string {
	if version := c.Param("version"); version != "" {
		return version
	}
	return api.APIVersion
}

// inVersion returns v, an object or a list of objects of the given shape, as a version of the API has it.
func inVersion(version string, of shape, v any) (any, error) {
	var changes []func(object)
	for _, d := range differences {
		if d.of == of && less(version, d.before) {
			changes = append(changes, d.change)
		}
	}
	if len(changes) == 0 {
		return v, nil
	}
	generic, err := asObjects(v)
	if err != nil {
		return nil, err
	}
	list, ok := generic.([]any)
	if !ok {
		list = []any{generic}
	}
	for _, element := range list {
		o, ok := element.(object)
		if !ok {
			return nil, fmt.Errorf("answer in version %s: %T is not an object", version, element)
		}
		for _, change := range changes {
			change(o)
		}
	}
	return generic, nil
}

// asObjects returns what a client decodes from v's JSON. Numbers keep their digits.
func asObjects(v any) (generic any, err error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(encoded))
	dec.UseNumber()
	if err := dec.Decode(&generic); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return generic, nil
}

// answerIn is answer, in the version of the request.
func answerIn(c echo.Context, of shape, v any, err error) error {
	if err == nil {
		v, err = inVersion(apiVersion(c), of, v)
	}
	return answer(c, v, err)
}

// Content types of streams of JSON values.
const (
	jsonLines = "application/jsonl"
	ndJSON    = "application/x-ndjson"
	jsonSeq   = "application/json-seq" // RFC 7464: each value has a record separator before it
)

// eventType returns the content type of a stream of events: one that the client names, otherwise the version's.
func eventType(c echo.Context) string {
	for _, accepted := range c.Request().Header.Values(echo.HeaderAccept) {
		for part := range strings.SplitSeq(accepted, ",") {
			name, _, _ := strings.Cut(part, ";")
			switch name = strings.TrimSpace(name); name {
			case jsonLines, ndJSON, jsonSeq:
				return name
			}
		}
	}
	if less(apiVersion(c), "1.52") {
		return echo.MIMEApplicationJSON
	}
	return jsonLines
}

// atLeast refuses a route in versions before the one that has introduced it, in Docker's words.
func atLeast(version string, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if less(apiVersion(c), version) {
			return api.Errorf(api.InvalidParameter, "%s %s requires minimum API version %s",
				c.Request().Method, strings.TrimPrefix(c.Path(), "/v:version"), version)
		}
		return next(c)
	}
}
