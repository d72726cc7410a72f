package api

// Foundation is what all containers of a daemon share.
type Foundation struct {
	// ServicePlan is the resource id of the service plan, ServicePlanSKU its SKU.
	ServicePlan    string
	ServicePlanSKU string
	// LogAnalyticsWorkspace is the customer id of the Log Analytics workspace.
	LogAnalyticsWorkspace string
}
