package api

// Foundation is what all containers of a daemon share.
type Foundation struct {
	// LogAnalyticsWorkspace is the customer id of the Log Analytics workspace.
	LogAnalyticsWorkspace string
	// Plan summarizes the Terraform plan that was applied. Held is the digest of a change that is not applied before
	// somebody approves it, "" when there is none, and HeldPlan summarizes it.
	Plan     string
	Held     string `json:",omitempty"`
	HeldPlan string `json:",omitempty"`
}

// FoundationRequest is the body of a request for what all containers share.
type FoundationRequest struct {
	// Digest approves the held change that has it; "" approves none.
	Digest string
}
