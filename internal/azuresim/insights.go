package azuresim

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/internal/azuresim/monitor"
)

// workspace is Log Analytics' part of a Log Analytics workspace, beside its resource.
type workspace struct {
	customerID string
	store      *monitor.Store
}

func (s *Sim) putWorkspace(rq *armRequest) (any, error) {
	r, existed, err := s.upsert(rq, typeWorkspace)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(rq.id)
	if !existed {
		// Within 14 days a Log Analytics workspace of the same name and group is the deleted one, data included.
		if old, ok := s.state.deleted[id]; ok {
			r.workspace = old.workspace
			delete(s.state.deleted, id)
		} else {
			r.workspace = &workspace{
				customerID: uuid.NewString(),
				store:      monitor.New(monitor.Config{Now: s.cfg.Now, IngestionDelay: s.ingestionDelay}),
			}
		}
	}
	sent := object(rq.body["properties"])
	if name := text(object(sent["sku"])["name"]); name == "" {
		return nil, refusal(http.StatusBadRequest, "InvalidParameter", "The workspace needs a sku.")
	}
	defaults := map[string]any{
		"publicNetworkAccessForIngestion": "Enabled", "publicNetworkAccessForQuery": "Enabled",
		"workspaceCapping": map[string]any{"dailyQuotaGb": -1, "dataIngestionStatus": "RespectQuota"},
		"createdDate":      s.timestamp(),
	}
	if old, ok := s.state.resources[id]; ok {
		maps.Copy(defaults, object(old.body["properties"]))
	}
	properties := merged(defaults, sent)
	if days, ok := properties["retentionInDays"].(float64); !ok || days == 0 {
		properties["retentionInDays"] = 30
	}
	properties["customerId"], properties["provisioningState"] = r.workspace.customerID, "Succeeded"
	properties["modifiedDate"] = s.timestamp()
	r.body["properties"] = properties
	s.keep(r)
	return r.body, nil
}

// deleteWorkspace deletes a Log Analytics workspace, softly unless force=true.
func (s *Sim) deleteWorkspace(rq *armRequest) (any, error) {
	id := strings.ToLower(rq.id)
	if r, ok := s.state.resources[id]; ok && !strings.EqualFold(rq.query("force"), "true") {
		s.state.deleted[id] = r
	}
	return s.deleteResource(rq)
}

func (s *Sim) listDeletedWorkspaces(*armRequest) (any, error) {
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.state.deleted)) {
		list = append(list, s.state.deleted[id].body)
	}
	return map[string]any{"value": list}, nil
}

func (s *Sim) listSharedKeys(rq *armRequest) (any, error) {
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	key := func(n int) string {
		return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "azuresim-shared-key-%d of %s", n, r.workspace.customerID))
	}
	return map[string]any{"primarySharedKey": key(1), "secondarySharedKey": key(2)}, nil
}

// serveLogAnalytics answers logsPath and /v1/workspaces/CUSTOMER-ID/query.
func (s *Sim) serveLogAnalytics(w http.ResponseWriter, r *http.Request) {
	path := segments(r.URL.Path)
	if len(path) != 5 || path[1] != "v1" || path[2] != "workspaces" || path[4] != "query" {
		s.unknownRoute(w, r)
		return
	}
	if err := s.checkToken(r, s.url+logsPath); err != nil {
		if err.code == "InvalidAuthenticationTokenAudience" { // Log Analytics answers this one 403
			err = refusal(http.StatusForbidden, "InsufficientAccessError",
				"The provided credentials have insufficient access to perform the requested operation")
		}
		writeError(w, err)
		return
	}
	store := s.workspaceStore(path[3])
	if store == nil {
		writeError(w, refusal(http.StatusNotFound, "PathNotFoundError", "The requested path does not exist"))
		return
	}
	http.StripPrefix(logsPath, store).ServeHTTP(w, r)
}

func (s *Sim) workspaceStore(customerID string) *monitor.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.state.resources {
		if r.workspace != nil && strings.EqualFold(r.workspace.customerID, customerID) {
			return r.workspace.store
		}
	}
	return nil
}

// putComponent creates an Application Insights component, and with it the alert rule that Azure creates unasked.
func (s *Sim) putComponent(rq *armRequest) (any, error) {
	r, existed, err := s.upsert(rq, typeComponent)
	if err != nil {
		return nil, err
	}
	sent := object(rq.body["properties"])
	workspaceID := text(sent["WorkspaceResourceId"])
	classic := rq.seed && workspaceID == ""
	if w, ok := s.state.resources[strings.ToLower(workspaceID)]; !classic && (!ok || w.kind != typeWorkspace) {
		return nil, refusal(http.StatusBadRequest, "BadRequest",
			"The workspace '%s' of the component was not found.", workspaceID)
	}
	key, appID := uuid.NewString(), uuid.NewString()
	if existed {
		old := object(s.state.resources[strings.ToLower(rq.id)].body["properties"])
		key, appID = text(old["InstrumentationKey"]), text(old["AppId"])
	}
	ingestion := "LogAnalytics"
	if classic {
		ingestion = "ApplicationInsights"
	}
	r.body["kind"] = rq.body["kind"]
	r.body["properties"] = merged(merged(map[string]any{
		"RetentionInDays": 90, "CreationDate": s.timestamp(), "Flow_Type": "Bluefield", "IngestionMode": ingestion,
	}, sent), map[string]any{
		"ApplicationId": r.name, "Name": r.name, "AppId": appID, "TenantId": s.cfg.SubscriptionID,
		"provisioningState":  "Succeeded",
		"InstrumentationKey": key,
		"ConnectionString": fmt.Sprintf("InstrumentationKey=%s;IngestionEndpoint=%s/;LiveEndpoint=%s/;ApplicationId=%s",
			key, s.url, s.url, appID),
	})
	s.keep(r)
	if !existed {
		s.addAlertRule(r)
	}
	return r.body, nil
}

// addAlertRule creates the rule "Failure Anomalies". Azure creates it for every component, and does not delete it with
// the component.
func (s *Sim) addAlertRule(component *resource) {
	name := "Failure Anomalies - " + component.name
	id := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s",
		s.cfg.SubscriptionID, component.group, typeAlertRule, name)
	s.keep(&resource{id: id, kind: typeAlertRule, name: name, group: component.group, body: map[string]any{
		"id": id, "name": name, "type": typeAlertRule, "location": "global",
		"properties": map[string]any{
			"description": "Failure Anomalies notifies you of an unusual rise in the rate of failed HTTP requests or " +
				"dependency calls.",
			"state": "Enabled", "severity": "Sev3", "frequency": "PT1M",
			"detector":     map[string]any{"id": "FailureAnomaliesDetector"},
			"scope":        []string{component.id},
			"actionGroups": map[string]any{"groupIds": []string{}},
		},
	}})
}

func (s *Sim) putAlertRule(rq *armRequest) (any, error) {
	r, _, err := s.upsert(rq, typeAlertRule)
	if err != nil {
		return nil, err
	}
	r.body["properties"] = rq.body["properties"]
	s.keep(r)
	return r.body, nil
}

func (s *Sim) getBilling(rq *armRequest) (any, error) {
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	if r.billing != nil {
		return r.billing, nil
	}
	return map[string]any{
		"CurrentBillingFeatures": []string{"Basic"},
		"DataVolumeCap": map[string]any{
			"Cap": 100, "MaxHistoryCap": 1000, "ResetTime": 0, "WarningThreshold": 90,
			"StopSendNotificationWhenHitCap": false, "StopSendNotificationWhenHitThreshold": false,
		},
	}, nil
}

func (s *Sim) putBilling(rq *armRequest) (any, error) {
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	r.billing = rq.body
	return rq.body, nil
}

// telemetry takes the rows of one function host, for the Log Analytics workspace behind the component that has the key
// of a connection string. It adds the columns that Application Insights adds: in the App* tables the resource is the
// component. Rows are lost while there is no such component or workspace.
type telemetry struct {
	sim              *Sim
	connectionString string
}

func (t telemetry) Append(table string, row map[string]any) {
	component, key, target := t.sim.telemetryTarget(t.connectionString)
	if target == nil {
		return
	}
	target.store.Append(table, merged(row, map[string]any{
		"_ResourceId": component, "ResourceGUID": key, "_SubscriptionId": t.sim.cfg.SubscriptionID,
		"TenantId": target.customerID,
	}))
}

// telemetryTarget returns the component of a connection string and its Log Analytics workspace, nil if there is none.
func (s *Sim) telemetryTarget(connectionString string) (component, key string, target *workspace) {
	for part := range strings.SplitSeq(connectionString, ";") {
		if value, ok := strings.CutPrefix(part, "InstrumentationKey="); ok {
			key = value
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.state.resources {
		properties := object(r.body["properties"])
		if r.kind == typeComponent && key != "" && strings.EqualFold(text(properties["InstrumentationKey"]), key) {
			if w, ok := s.state.resources[strings.ToLower(text(properties["WorkspaceResourceId"]))]; ok {
				return strings.ToLower(r.id), key, w.workspace
			}
		}
	}
	return "", "", nil
}

func (s *Sim) ingestionDelay() time.Duration { return s.faults.current().IngestionDelay }

func (s *Sim) timestamp() string { return s.cfg.Now().UTC().Format("2006-01-02T15:04:05Z") }
