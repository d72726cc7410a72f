package azuresim

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/sockerless/backend-azf/internal/azuresim/worker"
)

// site is App Service's part of a function app, beside its resource.
type site struct {
	servicePlanID string
	settings      map[string]string // app settings
	platform      map[string]string // variables that App Service sets itself
	config        map[string]any    // config/web, without app settings
	policies      map[string]bool   // whether basic authentication is allowed for ftp and scm
	password      string            // for publishing
	number, puts  int               // of the sites until this one was created, and of its PUTs
	// unauthenticated is what App Service's authentication answers; see Authenticate.
	unauthenticated string
	operation       *operation // the last write that was accepted and not done at once; nil if there was none

	host    *worker.App // nil: nothing runs
	hostDir string
	runs    string // image and settings that host runs, to see when it must be restarted
}

// defaultSiteConfig is config/web of a new Linux function app.
func defaultSiteConfig(app string) map[string]any {
	allowAll := []any{map[string]any{
		"ipAddress": "Any", "action": "Allow", "priority": 2147483647, "name": "Allow all",
		"description": "Allow all access",
	}}
	return map[string]any{
		"numberOfWorkers": 1, "linuxFxVersion": "", "appCommandLine": "", "publishingUsername": "$" + app,
		"acrUseManagedIdentityCreds": false, "alwaysOn": false, "autoHealEnabled": false,
		"detailedErrorLoggingEnabled": false,
		"functionAppScaleLimit":       0, "functionsRuntimeScaleMonitoringEnabled": false, "http20Enabled": false,
		"httpLoggingEnabled": false,
		"localMySqlEnabled":  false, "minimumElasticInstanceCount": 0, "preWarmedInstanceCount": 0,
		"remoteDebuggingEnabled": false,
		"requestTracingEnabled":  false, "use32BitWorkerProcess": false, "vnetRouteAllEnabled": false,
		"webSocketsEnabled":      false,
		"ipSecurityRestrictions": allowAll, "ipSecurityRestrictionsDefaultAction": "Allow",
		"scmIpSecurityRestrictions": allowAll, "scmIpSecurityRestrictionsDefaultAction": "Allow",
		"scmIpSecurityRestrictionsUseMain": false,
		"minTlsVersion":                    "1.2", "scmMinTlsVersion": "1.2", "ftpsState": "FtpsOnly", "scmType": "None",
		"loadBalancing": "LeastRequests", "managedPipelineMode": "Integrated", "logsDirectorySizeLimit": 35,
		"defaultDocuments": []any{"Default.htm", "Default.html", "index.htm"},
	}
}

func (s *Sim) checkNameAvailability(rq *armRequest) (any, error) {
	if kind := text(rq.body["type"]); kind != typeSite && kind != "Site" {
		return nil, refusal(http.StatusBadRequest, "BadRequest", "The type '%s' is not supported.", kind)
	}
	app := text(rq.body["name"])
	if s.siteNamed(app) != nil {
		return map[string]any{"nameAvailable": false, "reason": "AlreadyExists",
			"message": fmt.Sprintf("Hostname '%s' already exists. Please select a different name.", app)}, nil
	}
	if !validSiteName(app) {
		message := "The name '%s' is invalid: use letters, digits and hyphens, at most 60, no hyphen at either end."
		return map[string]any{"nameAvailable": false, "reason": "Invalid", "message": fmt.Sprintf(message, app)}, nil
	}
	return map[string]any{"nameAvailable": true, "reason": "", "message": ""}, nil
}

func validSiteName(app string) bool {
	return regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z-]{0,58}[0-9A-Za-z])?$`).MatchString(app)
}

// siteNamed finds a site in any resource group. Names are global, and their case does not matter.
func (s *Sim) siteNamed(app string) *resource {
	for _, r := range s.state.resources {
		if r.site != nil && strings.EqualFold(r.name, app) {
			return r
		}
	}
	return nil
}

func (s *Sim) hasSite(app string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.siteNamed(app) != nil
}

// findSite is find for a path below a site.
func (s *Sim) findSite(rq *armRequest) (*resource, error) {
	r, err := s.find(rq)
	if err == nil && (r.site == nil || r.site.hidden(false)) {
		return nil, notFound(rq.id)
	}
	return r, err
}

// maxElasticSites is the number of sites that an Elastic Premium plan can have
// (learn.microsoft.com/azure/azure-functions/functions-scale#service-limits).
const maxElasticSites = 100

// putSite answers 200 with the complete site, or 202, whether or not the image will ever run.
func (s *Sim) putSite(rq *armRequest) (any, error) {
	r, existed, err := s.upsert(rq, typeSite)
	if err != nil {
		return nil, err
	}
	if kind := text(rq.body["kind"]); !strings.Contains(kind, "functionapp") || !strings.Contains(kind, "linux") {
		return nil, refusal(http.StatusNotImplemented, "NotImplemented",
			"azuresim has no sites of kind %q, only functionapp,linux.", kind)
	}
	if !validSiteName(r.name) {
		return nil, refusal(http.StatusBadRequest, "BadRequest", "The parameter SiteName has an invalid value %q.", r.name)
	}
	if other := s.siteNamed(r.name); other != nil && !existed {
		return nil, refusal(http.StatusConflict, "Conflict", "Website with given name %s already exists.", r.name)
	}
	if !existed {
		s.state.sites++
		r.site = &site{
			number:   s.state.sites,
			settings: make(map[string]string), config: defaultSiteConfig(r.name), password: rand.Text(),
			policies: map[string]bool{"ftp": true, "scm": true},
		}
	}
	sent := object(rq.body["properties"])
	servicePlanID := text(sent["serverFarmId"])
	if servicePlanID == "" {
		servicePlanID = r.site.servicePlanID
	}
	servicePlan, ok := s.state.resources[strings.ToLower(servicePlanID)]
	if !ok || servicePlan.kind != typeServicePlan {
		return nil, refusal(http.StatusNotFound, "NotFound",
			"Cannot find ServerFarm with name %s.", servicePlanID[strings.LastIndex(servicePlanID, "/")+1:])
	}
	if location := text(servicePlan.body["location"]); !sameLocation(location, text(r.body["location"])) {
		return nil, refusal(http.StatusConflict, "Conflict",
			"The site's location '%s' is not the location '%s' of its App Service plan.", text(r.body["location"]), location)
	}
	moved := r.site.servicePlanID != servicePlan.id
	if moved && servicePlan.sku().elastic() && len(s.sitesOf(servicePlan.id)) >= maxElasticSites {
		return nil, refusal(http.StatusConflict, "Conflict", // no report has the words
			"The maximum number of Sites allowed in an ElasticPremium ServerFarm is %d.", maxElasticSites)
	}
	if err := r.site.configure(servicePlan, object(sent["siteConfig"])); err != nil {
		return nil, err
	}

	r.site.servicePlanID = servicePlan.id
	r.body["kind"] = rq.body["kind"]
	properties := map[string]any{
		"enabled": true, "httpsOnly": false, "clientCertEnabled": false, "clientCertMode": "Required",
		"publicNetworkAccess":       "Enabled",
		"keyVaultReferenceIdentity": "SystemAssigned",
	}
	if existed {
		old := s.state.resources[strings.ToLower(r.id)]
		maps.Copy(properties, object(old.body["properties"]))
		if r.body["identity"] == nil {
			r.body["identity"] = old.body["identity"]
		}
	}
	maps.Copy(properties, sent)
	r.body["properties"] = s.siteProperties(r, servicePlan, properties)
	s.keep(r)
	if existed && moved || !r.runs() {
		s.syncHosts() // another one may have its memory
	} else {
		s.syncHost(r)
	}
	if !rq.seed {
		if async := s.asyncOf(r); async != nil {
			return s.accept(rq, r, existed, *async), nil
		}
	}
	r.site.operation = nil
	return siteBody(r), nil
}

// siteProperties adds the properties that App Service itself sets.
func (s *Sim) siteProperties(r, servicePlan *resource, properties map[string]any) map[string]any {
	host := strings.ToLower(r.name) + appDomain
	addresses := "203.0.113.1,203.0.113.2" // documentation addresses (RFC 5737): nothing is there
	delete(properties, "siteConfig")
	return merged(properties, map[string]any{
		"name": r.name, "state": runningState(properties), "usageState": "Normal", "availabilityState": "Normal",
		"resourceGroup": r.group,
		"serverFarmId":  servicePlan.id, "reserved": object(servicePlan.body["properties"])["reserved"],
		"sku":             servicePlan.sku().tier,
		"defaultHostName": host, "hostNames": []string{host},
		"enabledHostNames":   []string{host, strings.ToLower(r.name) + ".scm" + appDomain},
		"repositorySiteName": r.name, "outboundIpAddresses": addresses,
		"possibleOutboundIpAddresses": addresses + ",203.0.113.3",
		"customDomainVerificationId":  strings.Repeat("5C1E", 16), "lastModifiedTimeUtc": s.timestamp(),
	})
}

func runningState(properties map[string]any) string {
	if truth(properties["enabled"]) {
		return "Running"
	}
	return "Stopped"
}

// siteBody returns the site as GET answers it, with the part of its configuration that App Service shows there.
func siteBody(r *resource) map[string]any {
	shown := make(map[string]any)
	for _, key := range []string{
		"numberOfWorkers", "linuxFxVersion", "acrUseManagedIdentityCreds", "alwaysOn", "http20Enabled",
		"functionAppScaleLimit",
		"minimumElasticInstanceCount",
	} {
		shown[key] = r.site.config[key]
	}
	properties := merged(object(r.body["properties"]), map[string]any{"siteConfig": shown})
	if o := r.site.operation; o.underWay(false) {
		properties["inProgressOperationId"] = o.id
	}
	return merged(r.body, map[string]any{"properties": properties})
}

// configure checks a sent siteConfig and puts it on top of the current one. App settings that are sent replace all
// current ones. servicePlan is nil if it is gone.
func (a *site) configure(servicePlan *resource, sent map[string]any) error {
	config, settings := merged(a.config, sent), a.settings
	if list, ok := sent["appSettings"].([]any); ok {
		var err error
		if settings, err = appSettings(list); err != nil {
			return err
		}
	}
	delete(config, "appSettings")

	if fx := text(config["linuxFxVersion"]); fx != "" {
		image, isImage := strings.CutPrefix(fx, "DOCKER|")
		linux := servicePlan == nil || truth(object(servicePlan.body["properties"])["reserved"])
		if _, err := name.ParseReference(image); !isImage || err != nil || !linux {
			return refusal(http.StatusBadRequest, "BadRequest", "The parameter LinuxFxVersion has an invalid value.")
		}
	}
	if truth(config["alwaysOn"]) && servicePlan != nil && !servicePlan.sku().alwaysOn {
		return refusal(http.StatusConflict, "Conflict",
			"There was a conflict. AlwaysOn cannot be set for this site as the plan does not allow it.")
	}
	a.config, a.settings = config, settings
	return nil
}

func (s *Sim) getSite(rq *armRequest) (any, error) {
	if r := s.state.resources[strings.ToLower(rq.id)]; r != nil && r.site != nil {
		defer r.site.operation.underWay(true) // which counts the read
	}
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	return siteBody(r), nil
}

// deleteSite answers when the site is gone: there is nothing to poll. The keys stay behind in the storage account. A
// site that Resource Manager does not show yet is not deleted.
func (s *Sim) deleteSite(rq *armRequest) (any, error) {
	if r := s.state.resources[strings.ToLower(rq.id)]; r != nil {
		if r.site.hidden(false) {
			return answer{status: http.StatusNoContent}, nil
		}
		s.stopHost(r.site)
	}
	defer s.syncHosts() // another one may have its memory
	return s.deleteResource(rq)
}

// siteConfigBody returns a document below a site.
func siteConfigBody(r *resource, document string, properties any) map[string]any {
	return map[string]any{
		"id": r.id + "/config/" + document, "name": document, "type": typeSite + "/config",
		"location": r.body["location"], "properties": properties,
	}
}

func (s *Sim) getSiteConfig(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	return siteConfigBody(r, "web", r.site.config), nil
}

func (s *Sim) patchSiteConfig(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	servicePlan := s.servicePlanOf(r)
	if err := r.site.configure(servicePlan, object(rq.body["properties"])); err != nil {
		return nil, err
	}
	s.syncHost(r)
	return siteConfigBody(r, "web", r.site.config), nil
}

func (s *Sim) listSettings(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	return siteConfigBody(r, "appsettings", r.site.settings), nil
}

func (s *Sim) listPublishingCredentials(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	return siteConfigBody(r, "publishingcredentials", map[string]any{
		"publishingUserName": "$" + r.name, "publishingPassword": r.site.password,
	}), nil
}

// noSiteDocument answers 404 for a document that a site may have, but never has here.
func (s *Sim) noSiteDocument(rq *armRequest) (any, error) {
	if _, err := s.findSite(rq); err != nil {
		return nil, err
	}
	return nil, refusal(http.StatusNotFound, "NotFound", "Not found.")
}

// siteDocument answers with a configuration document as App Service creates it, because nobody writes it.
func siteDocument(document string) func(*Sim, *armRequest) (any, error) {
	off := map[string]any{"enabled": false}
	properties := map[string]map[string]any{
		"connectionstrings":    {},
		"azurestorageaccounts": {},
		"slotConfigNames":      {},
		"authsettings":         off,
		"logs": {
			"applicationLogs": map[string]any{"fileSystem": map[string]any{"level": "Off"}},
			"httpLogs": map[string]any{"fileSystem": map[string]any{
				"retentionInMb": 35, "retentionInDays": 0, "enabled": false,
			}},
			"failedRequestsTracing": off, "detailedErrorMessages": off,
		},
	}[document]
	return func(s *Sim, rq *armRequest) (any, error) {
		r, err := s.findSite(rq)
		if err != nil {
			return nil, err
		}
		return siteConfigBody(r, document, properties), nil
	}
}

// emptySiteDocument accepts a configuration document that azurerm writes even when it is empty, and only then.
func emptySiteDocument(document string) func(*Sim, *armRequest) (any, error) {
	return func(s *Sim, rq *armRequest) (any, error) {
		if len(object(rq.body["properties"])) > 0 {
			return nil, refusal(http.StatusNotImplemented, "NotImplemented",
				"azuresim accepts %s only if it is empty.", document)
		}
		return siteDocument(document)(s, rq)
	}
}

func (s *Sim) getPublishingPolicy(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	policy := strings.ToLower(rq.params["policy"])
	allow, ok := r.site.policies[policy]
	if !ok {
		return nil, refusal(http.StatusNotFound, "NotFound", "There is no publishing policy '%s'.", policy)
	}
	return map[string]any{
		"id": r.id + "/basicPublishingCredentialsPolicies/" + policy, "name": policy,
		"type":     typeSite + "/basicPublishingCredentialsPolicies",
		"location": r.body["location"], "properties": map[string]any{"allow": allow},
	}, nil
}

func (s *Sim) putPublishingPolicy(rq *armRequest) (any, error) {
	r, err := s.findSite(rq)
	if err != nil {
		return nil, err
	}
	policy := strings.ToLower(rq.params["policy"])
	if _, ok := r.site.policies[policy]; ok {
		r.site.policies[policy] = truth(object(rq.body["properties"])["allow"])
	}
	return s.getPublishingPolicy(rq)
}
