package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v5"
)

// Site is what a direct backend needs for a function app.
type Site struct {
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resource_group"`
	Location      string            `json:"location"`
	Name          string            `json:"name"`
	PlanID        string            `json:"plan_id"`
	Image         string            `json:"image"`
	Settings      map[string]string `json:"settings"`
}

// SDK creates a task's site with the least that a direct backend needs, one PUT that is polled each second, and prints
// a Sample.
func SDK(
	ctx context.Context,
	task Task,
	credential azcore.TokenCredential,
	options azcore.ClientOptions,
	stdout io.Writer,
) error {
	return measured(stdout, func() error {
		client, err := armappservice.NewWebAppsClient(task.Site.Subscription, credential,
			&arm.ClientOptions{ClientOptions: options})
		if err != nil {
			return fmt.Errorf("make site: %w", err)
		}
		image, kind, yes := "DOCKER|"+task.Site.Image, "functionapp,linux,container", true
		settings := []*armappservice.NameValuePair{}
		for name, value := range task.Site.Settings {
			settings = append(settings, &armappservice.NameValuePair{Name: &name, Value: &value})
		}
		poller, err := client.BeginCreateOrUpdate(ctx, task.Site.ResourceGroup, task.Site.Name, armappservice.Site{
			Kind: &kind, Location: &task.Site.Location,
			Properties: &armappservice.SiteProperties{
				ServerFarmID: &task.Site.PlanID, HTTPSOnly: &yes,
				SiteConfig: &armappservice.SiteConfig{LinuxFxVersion: &image, AlwaysOn: &yes, AppSettings: settings},
			},
		}, nil)
		if err != nil {
			return fmt.Errorf("make site: %w", err)
		}
		if _, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
			return fmt.Errorf("make site: %w", err)
		}
		return nil
	})
}
