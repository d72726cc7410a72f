package workspace

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// state is the part of a state file (format version 4) that the package reads.
type state struct {
	Serial    int `json:"serial"`
	Resources []struct {
		Mode      string `json:"mode"`
		Type      string `json:"type"`
		Name      string `json:"name"`
		Instances []struct {
			IndexKey   any `json:"index_key"`
			Attributes struct {
				ServicePlanID string `json:"service_plan_id"`
			} `json:"attributes"`
		} `json:"instances"`
	} `json:"resources"`
	content []byte // of a state that was pulled
}

// readState reads the state of a workspace with a local backend. No state at all wraps fs.ErrNotExist.
func readState(dir string) (*state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("read state in %s: %w", dir, err)
	}
	return &s, nil
}

// managed returns the addresses of the managed resources.
func (s *state) managed() (addresses []string) {
	if s == nil {
		return nil
	}
	for _, r := range s.Resources {
		if r.Mode != "managed" {
			continue
		}
		for _, i := range r.Instances {
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

// servicePlan returns the resource id of the service plan of the function app in the state, empty when there is none.
func (s *state) servicePlan() string {
	if s == nil {
		return ""
	}
	for _, r := range s.Resources {
		for _, i := range r.Instances {
			if i.Attributes.ServicePlanID != "" {
				return i.Attributes.ServicePlanID
			}
		}
	}
	return ""
}
