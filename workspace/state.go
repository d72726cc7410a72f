package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// stateVersion is the version of the format of state files that the package reads.
const stateVersion = 4

// ErrNewerState is wrapped when a newer Terraform wrote a state. Nothing is changed then.
var ErrNewerState = errors.New("a newer Terraform wrote the state: start a daemon that knows its format, " +
	"or put a state of the older format in its place")

// ErrOtherState is wrapped when a state is that of another workspace. Nothing is changed then.
var ErrOtherState = errors.New("the state is that of another workspace: put the right one in its place, " +
	"or move it away, so that what it should hold is looked for in Azure")

// ErrEncryptedState is wrapped when OpenTofu has encrypted a state. Nothing is changed then.
var ErrEncryptedState = errors.New("OpenTofu has encrypted the state, and this daemon cannot read it: " +
	"put the decrypted state in its place")

// errNotState is wrapped when a file that should hold a state holds something else, or a part of one.
var errNotState = errors.New("it is not a Terraform state")

// state is the part of a state file that the package reads.
type state struct {
	Version   int    `json:"version"`
	Serial    uint64 `json:"serial"`
	Lineage   string `json:"lineage"`
	Outputs   map[string]output[any]
	Resources []struct {
		Mode      string `json:"mode"`
		Type      string `json:"type"`
		Name      string `json:"name"`
		Instances []struct {
			IndexKey   any    `json:"index_key"`
			Status     string `json:"status"`
			Attributes struct {
				ID string `json:"id"`
			} `json:"attributes"`
		} `json:"instances"`
	} `json:"resources"`
	content []byte // of a state that was pulled
	// Both are what OpenTofu's encryption puts in place of the rest.
	Encrypted         string `json:"encrypted_data"`
	EncryptionVersion string `json:"encryption_version"`
}

// output returns an output of a state, which may be nil: "" when it has none of that name, or one that is not a text.
func (s *state) output(name string) string {
	if s == nil {
		return ""
	}
	text, _ := s.Outputs[name].Value.(string)
	return text
}

// stays reports whether an error means that a file holds a state that must stay as it is: it may describe what nothing
// else knows.
func stays(err error) bool {
	return errors.Is(err, ErrNewerState) || errors.Is(err, ErrEncryptedState) || errors.Is(err, ErrOtherState)
}

// parseState reads the content of a state file. An empty file wraps fs.ErrNotExist: Terraform creates one when it takes
// the lock. Anything else that is not a state wraps errNotState, so that it is never taken for a state without
// resources.
func parseState(content []byte) (*state, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("the state file is empty: %w", fs.ErrNotExist)
	}
	var s state
	err := json.Unmarshal(content, &s)
	if s.Version > stateVersion {
		return nil, fmt.Errorf("its format has version %d, and this daemon knows %d: %w", s.Version, stateVersion,
			ErrNewerState)
	}
	if s.Encrypted != "" || s.EncryptionVersion != "" {
		return nil, ErrEncryptedState
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotState, err)
	}
	if s.Version != stateVersion || s.Lineage == "" {
		return nil, fmt.Errorf("%w: it has version %d and lineage %q", errNotState, s.Version, s.Lineage)
	}
	return &s, nil
}

// readState reads the state of a workspace with a local backend. No state at all wraps fs.ErrNotExist.
func readState(dir string) (*state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	s, err := parseState(content)
	if err != nil {
		return nil, fmt.Errorf("read state in %s: %w", dir, err)
	}
	return s, nil
}

// localStates reads the state files of a workspace: the state, and the one that Terraform could not write. A file that
// is missing or not a state is left out. Any other file that cannot be read is an error, and so is a state that stays.
// name is that of the resource in Azure, "" when it does not matter.
func localStates(dir, name string) (found []*state, err error) {
	last, err := newestOperation(dir)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{stateFile, erroredFile} {
		path := filepath.Join(dir, file)
		content, err := os.ReadFile(path)
		var known *state
		if err == nil {
			known, err = ownState(content, last, name)
		}
		switch {
		case err == nil:
			found = append(found, known)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotState):
			return nil, fmt.Errorf("read state %s: %w", path, err)
		}
	}
	return found, nil
}

// foreign returns the resource id of a managed resource that does not have the given name, "" when there is none. name
// is empty for the foundation, whose resources have names that change with its settings.
func (s *state) foreign(name string) string {
	if s == nil || name == "" {
		return ""
	}
	for _, r := range s.Resources {
		for _, i := range r.Instances {
			id := i.Attributes.ID
			if r.Mode == "managed" && id != "" && !strings.EqualFold(path.Base(id), name) {
				return id
			}
		}
	}
	return ""
}

// idOf returns the resource id of the first managed resource of an azurerm type, "" when a state, which may be nil, has
// none.
func (s *state) idOf(kind string) string {
	if s == nil {
		return ""
	}
	for _, r := range s.Resources {
		if r.Mode == "managed" && r.Type == kind && len(r.Instances) > 0 {
			return r.Instances[0].Attributes.ID
		}
	}
	return ""
}

// types returns the azurerm types of the resources and data sources.
func (s *state) types() (types []string) {
	for _, r := range s.Resources {
		if strings.HasPrefix(r.Type, "azurerm_") {
			types = append(types, r.Type)
		}
	}
	return types
}

// managed returns the addresses of the managed resources. A nil state has none.
func (s *state) managed() []string { return s.withStatus() }

// withStatus returns the addresses of the managed resources that have one of these statuses; all of them if no status
// is given.
func (s *state) withStatus(statuses ...string) (addresses []string) {
	if s == nil {
		return nil
	}
	for _, r := range s.Resources {
		if r.Mode != "managed" {
			continue
		}
		for _, i := range r.Instances {
			if len(statuses) > 0 && !slices.Contains(statuses, i.Status) {
				continue
			}
			address := r.Type + "." + r.Name
			if i.IndexKey != nil {
				address += fmt.Sprintf("[%v]", i.IndexKey)
			}
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// has reports whether the state knows a resource. A nil state knows none.
func (s *state) has(address string) bool { return slices.Contains(s.managed(), address) }
