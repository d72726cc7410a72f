// Package inventory tells what is in Azure: one resource by its id, and the function apps of a resource group. It owns the client of
// Azure Resource Manager's generic resources, changes nothing, and must not know what anything is for.
//
//	inv, err := inventory.New(inventory.Config{Credential: cred, SubscriptionID: id})
//	plan, found, err := inv.Find(ctx, "/subscriptions/.../serverFarms/name")
//	apps, err := inv.FunctionApps(ctx, "resource-group")
package inventory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// callLimit bounds one call, the SDK's retries included.
const callLimit = 2 * time.Minute

// versions are the API versions by which resources are read, by their type in lower case. Generic calls must name one that the
// resource's own provider knows.
var versions = map[string]string{
	"microsoft.web/sites":                      "2024-11-01",
	"microsoft.web/serverfarms":                "2024-11-01",
	"microsoft.insights/components":            "2020-02-02",
	"microsoft.operationalinsights/workspaces": "2025-07-01",
}

// Config is what an Inventory needs. Credential and SubscriptionID are required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud names the endpoints; its zero value is the public Azure.
	Cloud cloud.Configuration
	// Transport carries the calls; nil is the SDK's own.
	Transport      policy.Transporter
	SubscriptionID string
}

// Resource is a resource as Azure Resource Manager has it.
type Resource struct {
	ID   string
	Tags map[string]string
}

// Inventory reads. Its methods may be called from several goroutines.
type Inventory struct{ client *armresources.Client }

// New returns an Inventory. It makes no call.
func New(cfg Config) (*Inventory, error) {
	if cfg.Credential == nil || cfg.SubscriptionID == "" {
		return nil, errors.New("new inventory: a credential and a subscription id are needed")
	}
	client, err := armresources.NewClient(cfg.SubscriptionID, cfg.Credential, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{Cloud: cfg.Cloud, Transport: cfg.Transport},
		// Registering a resource provider would change the subscription.
		DisableRPRegistration: true,
	})
	if err != nil {
		return nil, fmt.Errorf("new inventory: %w", err)
	}
	return &Inventory{client}, nil
}

// Find asks for one resource by its id: a function app, an App Service plan, an Application Insights component or a Log Analytics
// workspace. The resource's own provider answers, so what it says is not late. found is false only when the answer is that there is none.
func (i *Inventory) Find(ctx context.Context, id string) (r Resource, found bool, err error) {
	parsed, err := arm.ParseResourceID(id)
	if err != nil {
		return Resource{}, false, fmt.Errorf("find %s: %w", id, err)
	}
	version, ok := versions[strings.ToLower(parsed.ResourceType.String())]
	if !ok {
		return Resource{}, false, fmt.Errorf("find %s: no API version is known for %s", id, parsed.ResourceType)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := i.client.GetByID(ctx, strings.TrimPrefix(id, "/"), version, nil)
	if failed, ok := errors.AsType[*azcore.ResponseError](err); ok && failed.StatusCode == http.StatusNotFound && failed.ErrorCode == "ResourceNotFound" {
		return Resource{}, false, nil
	}
	if err != nil {
		return Resource{}, false, fmt.Errorf("find %s: %w", id, err)
	}
	if res.ID == nil {
		return Resource{}, false, fmt.Errorf("find %s: the answer has no id", id)
	}
	return resource(*res.ID, res.Tags), true, nil
}

// FunctionApps lists the sites of a resource group. Azure Resource Manager answers from an index that may be minutes late: Find knows
// whether a site is there.
func (i *Inventory) FunctionApps(ctx context.Context, resourceGroup string) ([]Resource, error) {
	filter := "resourceType eq 'Microsoft.Web/sites'"
	pager := i.client.NewListByResourceGroupPager(resourceGroup, &armresources.ClientListByResourceGroupOptions{Filter: &filter})
	var out []Resource
	for pager.More() {
		page, err := nextPage(ctx, pager.NextPage)
		if err != nil {
			return nil, fmt.Errorf("list function apps in %s: %w", resourceGroup, err)
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
			r.Tags[key] = *value
		}
	}
	return r
}
