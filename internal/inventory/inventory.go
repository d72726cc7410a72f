// Package inventory reads resources from Azure: one resource by its id, and the function apps and service plans of a
// resource group.
// It owns the client for Azure Resource Manager's generic resources. It changes nothing, and it must not know the
// purpose of a resource.
//
//	inv, err := inventory.New(inventory.Config{Credential: cred, SubscriptionID: id})
//	plan, found, err := inv.Find(ctx, "/subscriptions/.../serverFarms/name")
//	apps, err := inv.FunctionApps(ctx, "resource-group")
package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// callLimit bounds one call, including the SDK's retries.
const callLimit = 2 * time.Minute

// versions holds the API version for each type of resource in lower case. A generic call must name a version that the
// resource's own provider supports.
var versions = map[string]string{
	"microsoft.web/sites":                      "2024-11-01",
	"microsoft.web/serverfarms":                "2024-11-01",
	"microsoft.insights/components":            "2020-02-02",
	"microsoft.operationalinsights/workspaces": "2025-07-01",
}

// notFound are the codes with which Azure answers that a resource does not exist, or its resource group.
var notFound = []string{"ResourceNotFound", "ResourceGroupNotFound"}

// Config configures New. Credential and SubscriptionID are required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud holds the endpoints; its zero value means Azure's public cloud.
	Cloud cloud.Configuration
	// Transport carries the calls; nil means the SDK's own.
	Transport      policy.Transporter
	SubscriptionID string
}

// Resource is a resource in Azure.
type Resource struct {
	ID string
	// Tags have their names in lower case: Azure ignores the case, and a policy or a person may have changed it.
	Tags map[string]string
}

// Inventory reads resources. Its methods are safe for concurrent use.
type Inventory struct {
	client       *armresources.Client
	subscription string
}

// New returns an Inventory. It calls no service.
func New(cfg Config) (*Inventory, error) {
	if cfg.Credential == nil || cfg.SubscriptionID == "" {
		return nil, errors.New("new inventory: a credential and a subscription id are required")
	}
	client, err := armresources.NewClient(cfg.SubscriptionID, cfg.Credential, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{Cloud: cfg.Cloud, Transport: cfg.Transport},
		// Registering a resource provider would change the subscription.
		DisableRPRegistration: true,
	})
	if err != nil {
		return nil, fmt.Errorf("new inventory: %w", err)
	}
	return &Inventory{client, cfg.SubscriptionID}, nil
}

// Find reads one resource by its id: a function app, a service plan, an Application Insights component or a Log
// Analytics workspace. The resource's own provider answers, so the answer is current. found is false only when the
// provider answers that the resource does not exist.
func (i *Inventory) Find(ctx context.Context, id string) (r Resource, found bool, err error) {
	res, found, err := i.get(ctx, id)
	if err != nil || !found {
		return Resource{}, false, err
	}
	return resource(*res.ID, res.Tags), true, nil
}

// ComponentWorkspace returns the resource id of the Log Analytics workspace of an Application Insights component in the
// subscription, empty when the component has none. found is false only when the provider answers that there is no such
// component.
func (i *Inventory) ComponentWorkspace(
	ctx context.Context, group, name string,
) (workspaceID string, found bool, err error) {
	res, found, err := i.get(ctx, "/subscriptions/"+i.subscription+"/resourceGroups/"+group+
		"/providers/Microsoft.Insights/components/"+name)
	properties, _ := res.Properties.(map[string]any)
	for name, value := range properties { // its case differs between API versions
		if strings.EqualFold(name, "WorkspaceResourceId") {
			workspaceID, _ = value.(string)
		}
	}
	return workspaceID, found, err
}

// get reads a resource, which has an id.
func (i *Inventory) get(
	ctx context.Context, id string,
) (res armresources.ClientGetByIDResponse, found bool, err error) {
	parsed, err := arm.ParseResourceID(id)
	if err != nil {
		return res, false, fmt.Errorf("find %s: %w", id, err)
	}
	version, ok := versions[strings.ToLower(parsed.ResourceType.String())]
	if !ok {
		return res, false, fmt.Errorf("find %s: no API version is known for %s", id, parsed.ResourceType)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err = i.client.GetByID(ctx, strings.TrimPrefix(id, "/"), version, nil)
	failed, ok := errors.AsType[*azcore.ResponseError](err)
	if ok && failed.StatusCode == http.StatusNotFound && slices.Contains(notFound, failed.ErrorCode) {
		return res, false, nil
	}
	if err != nil {
		return res, false, fmt.Errorf("find %s: %w", id, err)
	}
	if res.ID == nil {
		return res, false, fmt.Errorf("find %s: the answer has no id", id)
	}
	return res, true, nil
}

// ServicePlan is a service plan in Azure.
type ServicePlan struct {
	// ID is as Azure writes it. Its case may be another one than azurerm takes.
	ID, Name, Location string
	Linux              bool
	// SKU is its name, such as B1, and Tier that of its family, such as Basic.
	SKU, Tier string
	// Workers are its instances, and Sites its apps.
	Workers, Sites int
	// PerSiteScaling: each app says on how many of the instances it runs. Otherwise it runs on all.
	PerSiteScaling bool
	// ElasticScale and MaximumElasticWorkers are those of a plan that adds instances by itself.
	ElasticScale          bool
	MaximumElasticWorkers int
	// Tags have their names in lower case, as those of a Resource.
	Tags map[string]string
}

// ServicePlan reads a service plan by its id. found is false only when Azure answers that it does not exist.
func (i *Inventory) ServicePlan(ctx context.Context, id string) (p ServicePlan, found bool, err error) {
	res, found, err := i.get(ctx, id)
	if err != nil || !found {
		return ServicePlan{}, false, err
	}
	p = ServicePlan{
		ID: *res.ID, Name: value(res.Name), Location: value(res.Location), Tags: resource(*res.ID, res.Tags).Tags,
	}
	if res.SKU != nil {
		p.SKU, p.Tier, p.Workers = value(res.SKU.Name), value(res.SKU.Tier), int(value(res.SKU.Capacity))
	}
	content, err := json.Marshal(res.Properties)
	if err != nil {
		return ServicePlan{}, false, fmt.Errorf("find %s: %w", id, err)
	}
	properties := struct {
		Reserved                  *bool `json:"reserved"`
		PerSiteScaling            *bool `json:"perSiteScaling"`
		ElasticScaleEnabled       *bool `json:"elasticScaleEnabled"`
		MaximumElasticWorkerCount *int  `json:"maximumElasticWorkerCount"`
		NumberOfSites             *int  `json:"numberOfSites"`
	}{&p.Linux, &p.PerSiteScaling, &p.ElasticScale, &p.MaximumElasticWorkers, &p.Sites}
	if err := json.Unmarshal(content, &properties); err != nil {
		return ServicePlan{}, false, fmt.Errorf("find %s: read its properties: %w", id, err)
	}
	return p, true, nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// FunctionApps lists the sites of a resource group. Azure Resource Manager answers from an index that may be minutes
// late. Call Find to learn whether a site exists now.
func (i *Inventory) FunctionApps(ctx context.Context, resourceGroup string) ([]Resource, error) {
	return i.list(ctx, resourceGroup, "Microsoft.Web/sites")
}

// ServicePlans lists the service plans of a resource group, from the same index as FunctionApps.
func (i *Inventory) ServicePlans(ctx context.Context, resourceGroup string) ([]Resource, error) {
	return i.list(ctx, resourceGroup, "Microsoft.Web/serverFarms")
}

// list lists the resources of one type in a resource group.
func (i *Inventory) list(ctx context.Context, resourceGroup, kind string) ([]Resource, error) {
	filter := "resourceType eq '" + kind + "'"
	opts := &armresources.ClientListByResourceGroupOptions{Filter: &filter}
	pager := i.client.NewListByResourceGroupPager(resourceGroup, opts)
	var out []Resource
	for pager.More() {
		page, err := nextPage(ctx, pager.NextPage)
		if err != nil {
			return nil, fmt.Errorf("list %s in %s: %w", kind, resourceGroup, err)
		}
		for _, r := range page.Value {
			if r.ID != nil {
				out = append(out, resource(*r.ID, r.Tags))
			}
		}
	}
	return out, nil
}

func nextPage[T any](ctx context.Context, next func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return next(ctx)
}

func resource(id string, tags map[string]*string) Resource {
	r := Resource{ID: id, Tags: map[string]string{}}
	for key, value := range tags {
		if value != nil {
			r.Tags[strings.ToLower(key)] = *value
		}
	}
	return r
}
