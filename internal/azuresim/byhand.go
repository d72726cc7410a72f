package azuresim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// DeleteResourceGroup deletes a resource group with everything in it. Unlike Azure, it does so even if a service plan
// in the group has function apps in other groups; these stay. As in Azure, the group's Log Analytics workspaces are
// soft-deleted. Every later call for the group is answered 404 ResourceGroupNotFound, until AddResourceGroup.
func (s *Sim) DeleteResourceGroup(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.state.resources {
		if strings.EqualFold(r.group, name) {
			s.remove(r)
		}
	}
	delete(s.state.groups, strings.ToLower(name))
	s.syncHosts()
}

// Delete deletes the resource of an id, as somebody else would by hand. Unlike Azure, it does so even if others need
// the resource: a service plan goes, and its function apps stay. A Log Analytics workspace is soft-deleted. Delete
// fails if there is no such resource.
func (s *Sim) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.state.resources[strings.ToLower(id)]
	if !ok {
		return fmt.Errorf("delete %s: it does not exist", id)
	}
	s.remove(r)
	s.syncHosts()
	return nil
}

// remove takes a resource out of the state. The caller holds Sim.mu.
func (s *Sim) remove(r *resource) {
	id := strings.ToLower(r.id)
	delete(s.state.resources, id)
	switch r.kind {
	case typeSite:
		s.stopHost(r.site)
	case typeWorkspace:
		s.state.deleted[id] = r
	case typeStorage:
		clear(s.state.keys)
	}
}

// syncHosts makes all hosts run, or not, as the resources that they need demand. The caller holds Sim.mu.
func (s *Sim) syncHosts() {
	for _, r := range s.state.resources {
		if r.site != nil {
			s.syncHost(r)
		}
	}
}

// Edit changes a resource as somebody else would by hand. change gets the resource as GET answers it, decoded from
// JSON; that of a function app has its whole siteConfig with appSettings. What change leaves is kept unchecked, except
// that a service plan's size is its sku's name and capacity, and a siteConfig is checked as in a PUT. Edit fails if
// there is no such resource.
func (s *Sim) Edit(id string, change func(body map[string]any)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.state.resources[strings.ToLower(id)]
	if !ok {
		return fmt.Errorf("edit %s: it does not exist", id)
	}
	body := maps.Clone(r.body)
	if r.site != nil {
		settings := []any{}
		for name, value := range r.site.settings {
			settings = append(settings, map[string]any{"name": name, "value": value})
		}
		config := merged(r.site.config, map[string]any{"appSettings": settings})
		body["properties"] = merged(object(body["properties"]), map[string]any{"siteConfig": config})
	}
	body, err := decoded(body)
	if err != nil {
		return fmt.Errorf("edit %s: %w", id, err)
	}
	change(body)
	if body, err = decoded(body); err != nil {
		return fmt.Errorf("edit %s: %w", id, err)
	}
	properties := object(body["properties"])
	switch r.kind {
	case typeSite:
		servicePlan := s.servicePlanOf(r)
		if err := r.site.configure(servicePlan, object(properties["siteConfig"])); err != nil {
			return fmt.Errorf("edit %s: %w", id, err)
		}
		delete(properties, "siteConfig")
		properties["state"] = runningState(properties)
	case typeServicePlan:
		sku := object(body["sku"])
		known, ok := skuOf(text(sku["name"]))
		if !ok {
			return fmt.Errorf("edit %s: %q is not a valid SKU", id, text(sku["name"]))
		}
		sku["tier"], sku["size"] = known.tier, sku["name"]
		properties["numberOfWorkers"], properties["currentNumberOfWorkers"] = sku["capacity"], sku["capacity"]
	}
	r.body = body
	s.syncHosts()
	return nil
}

// Seed creates a resource that exists before anybody uses azuresim, for instance a storage account in a resource group
// of AddResourceGroup. body is that of a PUT, which fills in and checks the rest; "location" is Config.Location if it
// is missing. A type that azuresim has no PUT for, such as a storage account, is kept as it is. An Application Insights
// component without WorkspaceResourceId becomes a classic one, which a PUT cannot create.
func (s *Sim) Seed(id string, body map[string]any) error {
	body, err := decoded(merged(map[string]any{"location": s.cfg.Location}, body))
	if err != nil {
		return fmt.Errorf("seed %s: %w", id, err)
	}
	path := segments(id)
	if len(path) != 8 {
		return fmt.Errorf("seed %s: it is not a valid id of a resource in a resource group", id)
	}
	rq := &armRequest{id: "/" + strings.Join(path, "/"), body: body, seed: true, query: func(string) string { return "" }}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.state.groups[strings.ToLower(path[3])]; !ok {
		return fmt.Errorf("seed %s: there is no resource group %s: use AddResourceGroup", id, path[3])
	}
	for _, route := range s.routes {
		if params, ok := matchPath(route.pattern, path); ok && route.method == http.MethodPut {
			rq.params = params
			_, err := route.handle(s, rq)
			return err
		}
	}
	kind := path[5] + "/" + path[6]
	for _, known := range []string{typeStorage, typeIdentity} {
		if strings.EqualFold(kind, known) {
			s.seed(known, rq.id, body)
			s.syncHosts()
			return nil
		}
	}
	return errors.New("seed " + id + ": azuresim has no resources of this type")
}

// decoded returns a copy of a document as decoding its JSON gives it.
func decoded(document map[string]any) (copied map[string]any, err error) {
	data, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return copied, json.Unmarshal(data, &copied)
}
