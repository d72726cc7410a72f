package protocol

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// App settings in which a Spec travels: SpecEnv holds the number of parts, SpecEnv with _0, _1 and so on the parts.
// ReferenceEnv with _0, _1 and so on hold references that App Service resolves; see Spec.References.
const (
	SpecEnv      = "AZF_SPEC"
	ReferenceEnv = "AZF_REFERENCE"
)

// SpecVersion is the version of the Spec that this release writes, and the last one that it reads.
const SpecVersion = 1

// MaxSpec is the greatest length of a Spec as JSON, in bytes. App Service passes each setting twice, the second time
// with the prefix APPSETTING_. In base64 that is 1.4 MB, of the 2 MiB that Linux allows for the environment of a
// process whose stack limit is 8 MiB (execve(2)), and of the 4 MB that Resource Manager takes in a request.
const MaxSpec = 512 << 10

// maxPart is the length of a part. Of values up to this length nobody has reported that they are cut.
const maxPart = 30000

// Spec is what azf-handler of protocol 2 runs: a container's command and its surroundings.
type Spec struct {
	Version int `json:"version"`
	// Command holds entrypoint and arguments. Empty: the arguments of azf-handler.
	Command []string `json:"command,omitempty"`
	// Env holds NAME=value entries, a name at most once: all variables of the image and of the container, but the image's
	// PATH, which azf-handler knows.
	Env []string `json:"env,omitempty"`
	// References maps names of further variables to app settings. App Service puts the value in their place, and leaves
	// the reference when it cannot.
	References map[string]string `json:"references,omitempty"`
	// PartialEnv reports that the image's own variables are not in Env, because the image's configuration is not known.
	PartialEnv bool `json:"partial_env,omitempty"`
	// WorkingDir is the command's working directory. Empty: that of azf-handler.
	WorkingDir string `json:"working_dir,omitempty"`
	// User is a user in Docker's form: USER or USER:GROUP, each a name or a number. Empty: the user of azf-handler.
	User string `json:"user,omitempty"`
	// Groups are further groups of the command, each a name or a number.
	Groups []string `json:"groups,omitempty"`
}

// Encode returns the app settings that hold the spec: base64url without padding, which no shell, env file or App
// Service changes. It fails when the spec is longer than MaxSpec.
func (s Spec) Encode() (map[string]string, error) {
	s.Version = SpecVersion
	content, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	if len(content) > MaxSpec {
		return nil, fmt.Errorf("environment and command are %d bytes long as JSON; at most %d fit into the app settings",
			len(content), MaxSpec)
	}
	text, settings := base64.RawURLEncoding.EncodeToString(content), map[string]string{}
	count := 0
	for ; text != ""; count++ {
		part := text[:min(len(text), maxPart)]
		settings[partName(count)], text = part, text[len(part):]
	}
	settings[SpecEnv] = strconv.Itoa(count)
	return settings, nil
}

// ErrNoSpec is DecodeSpec's error when there is no spec, as in containers of earlier releases.
var ErrNoSpec = errors.New("no spec")

// DecodeSpec reads the spec from app settings.
func DecodeSpec(getenv func(name string) string) (Spec, error) {
	value := getenv(SpecEnv)
	if value == "" {
		return Spec{}, ErrNoSpec
	}
	count, err := strconv.Atoi(value)
	if err != nil {
		return Spec{}, fmt.Errorf("%s is %q and not a number of parts", SpecEnv, value)
	}
	text := ""
	for i := range count {
		part := getenv(partName(i))
		if part == "" {
			return Spec{}, fmt.Errorf("%s is missing: the app has %s=%d", partName(i), SpecEnv, count)
		}
		text += part
	}
	content, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Spec{}, fmt.Errorf("decode %s: %w", SpecEnv, err)
	}
	// The version comes first: a later one may have another form.
	var s Spec
	var version struct{ Version int }
	if err := json.Unmarshal(content, &version); err != nil {
		return Spec{}, fmt.Errorf("decode %s: %w", SpecEnv, err)
	}
	if version.Version != SpecVersion {
		return Spec{}, fmt.Errorf("%s has version %d and this azf-handler reads version %d: build the image with the "+
			"azf-handler of the daemon's release", SpecEnv, version.Version, SpecVersion)
	}
	if err := json.Unmarshal(content, &s); err != nil {
		return Spec{}, fmt.Errorf("decode %s: %w", SpecEnv, err)
	}
	return s, nil
}

func partName(i int) string { return SpecEnv + "_" + strconv.Itoa(i) }
