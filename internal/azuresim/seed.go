package azuresim

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

const (
	typeSite        = "Microsoft.Web/sites"
	typeServicePlan = "Microsoft.Web/serverfarms"
	typeComponent   = "Microsoft.Insights/components"
	typeAlertRule   = "Microsoft.AlertsManagement/smartDetectorAlertRules"
	typeWorkspace   = "Microsoft.OperationalInsights/workspaces"
	typeStorage     = "Microsoft.Storage/storageAccounts"
	typeIdentity    = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

// seedState creates what exists from the start: a resource group with a storage account and a managed identity.
func (s *Sim) seedState() {
	st := state{
		groups:    map[string]string{strings.ToLower(s.cfg.ResourceGroup): s.cfg.ResourceGroup},
		resources: make(map[string]*resource),
		deleted:   make(map[string]*resource),
		locks:     make(map[string]string),
		keys:      make(map[string]siteKeys),
		secrets:   make(map[string]string),
		blobs: blobs{
			containers: make(map[string]bool), content: make(map[string][]byte), immutable: make(map[string]bool),
		},

		operations: make(map[string]*operation),
		overfilled: make(map[string]Overfill),
		scaledOut:  make(map[string]bool),
	}
	s.state = st
	s.seed(typeStorage, s.resourceID(typeStorage, s.cfg.StorageAccount), map[string]any{})
	s.seed(typeIdentity, s.resourceID(typeIdentity, s.cfg.Identity), map[string]any{})
}

// seed keeps a storage account or a managed identity, with what Azure fills in below what body says. The caller holds
// Sim.mu.
func (s *Sim) seed(kind, id string, body map[string]any) {
	path := segments(id)
	r := &resource{id: id, kind: kind, name: path[7], group: path[3]}
	properties := map[string]any{
		"tenantId": s.cfg.TenantID, "principalId": uuid.NewString(), "clientId": uuid.NewString(),
	}
	r.body = map[string]any{"location": s.cfg.Location}
	if kind == typeStorage {
		endpoints := make(map[string]any)
		for _, service := range []string{"blob", "dfs", "file", "queue", "table", "web"} {
			endpoints[service] = fmt.Sprintf("https://%s.%s.core.windows.net/", r.name, service)
		}
		r.body["kind"], r.body["tags"] = "StorageV2", map[string]any{}
		r.body["sku"] = map[string]any{"name": "Standard_LRS", "tier": "Standard"}
		properties = map[string]any{
			"provisioningState": "Succeeded", "accessTier": "Hot", "allowBlobPublicAccess": false,
			"allowSharedKeyAccess": true, "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true,
			"primaryLocation": s.cfg.Location, "statusOfPrimary": "available", "primaryEndpoints": endpoints,
		}
	}
	maps.Copy(r.body, body)
	r.body["id"], r.body["name"], r.body["type"] = r.id, r.name, kind
	r.body["properties"] = merged(properties, object(body["properties"]))
	s.keep(r)
}

func (s *Sim) resourceID(kind, name string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s",
		s.cfg.SubscriptionID, s.cfg.ResourceGroup, kind, name)
}

// AddResourceGroup creates one more resource group.
func (s *Sim) AddResourceGroup(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.groups[strings.ToLower(name)] = name
}

// Identity returns the resource id and the client id of the managed identity that exists from the start. Function apps
// that use it may read the storage account.
func (s *Sim) Identity() (id, clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.state.resources[strings.ToLower(s.resourceID(typeIdentity, s.cfg.Identity))]
	return r.id, text(object(r.body["properties"])["clientId"])
}

// storageKeys are the storage account's two keys: fixed, well-formed and worthless.
func storageKeys() [2]string {
	return [2]string{
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("azuresim-storage-key-1..........", 2))),
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("azuresim-storage-key-2..........", 2))),
	}
}

func (s *Sim) listStorageKeys(rq *armRequest) (any, error) {
	if _, err := s.find(rq); err != nil {
		return nil, err
	}
	list := []any{}
	for i, key := range storageKeys() {
		list = append(list, map[string]any{
			"keyName": fmt.Sprintf("key%d", i+1), "value": key, "permissions": "FULL",
			"creationTime": "2026-01-01T00:00:00Z",
		})
	}
	return map[string]any{"keys": list}, nil
}

// expandIdentity fills in Azure's ids of the identities that a PUT assigns.
func (s *Sim) expandIdentity(identity map[string]any) (map[string]any, error) {
	kind := text(identity["type"])
	if kind == "" || strings.EqualFold(kind, "None") {
		return map[string]any{"type": "None"}, nil
	}
	if !strings.EqualFold(kind, "UserAssigned") {
		return nil, refusal(http.StatusNotImplemented, "NotImplemented",
			"azuresim has no identities of type %q, only UserAssigned.", kind)
	}
	assigned := make(map[string]any)
	for id := range object(identity["userAssignedIdentities"]) {
		r, ok := s.state.resources[strings.ToLower(id)]
		if !ok || r.kind != typeIdentity {
			return nil, refusal(http.StatusBadRequest, "FailedIdentityOperation",
				"Identity operation failed: The resource '%s' was not found.", id)
		}
		properties := object(r.body["properties"])
		assigned[id] = map[string]any{"principalId": properties["principalId"], "clientId": properties["clientId"]}
	}
	return map[string]any{"type": kind, "userAssignedIdentities": assigned}, nil
}
