package api

// Results of a PolicyVerdict.
const (
	PolicyAllow = "allow"
	PolicyWarn  = "warn"
	PolicyDeny  = "deny"
	// PolicyError: the policy could not be evaluated.
	PolicyError = "error"
	// PolicyOverridden: it denied, or could not be evaluated, and somebody has overridden that.
	PolicyOverridden = "overridden"
)

// PolicyVerdict is what one policy says of a request or of a plan.
type PolicyVerdict struct {
	Set    string `json:"set"`
	Digest string `json:"digest"`
	// Enforcement is advisory, soft or hard.
	Enforcement string `json:"enforcement"`
	Result      string `json:"result"`
	// Deny and Warn are messages of rules, with file and line.
	Deny []string `json:"deny,omitempty"`
	Warn []string `json:"warn,omitempty"`
	// Exceptions are the rules that an exception has silenced.
	Exceptions []string `json:"exceptions,omitempty"`
	Error      string   `json:"error,omitempty"`
}

// Refuses reports whether the policy stands in the way.
func (v PolicyVerdict) Refuses() bool {
	return v.Enforcement != PolicyAdvisory && (v.Result == PolicyDeny || v.Result == PolicyError)
}

// PolicyAdvisory is the enforcement of a policy that refuses nothing.
const PolicyAdvisory = "advisory"

// OverrideLabel is the label with the reason for which a container's plan is applied although a soft policy refuses it.
const OverrideLabel = "sockerless-override"

// PolicyOverride is an override of policies that somebody has asked for.
type PolicyOverride struct {
	Reason string `json:"reason"`
	// Allowed reports whether the requester may override one of the policies that were asked.
	Allowed bool `json:"allowed"`
}

// Events of policies, about a container.
const (
	EventPolicyDeny     EventAction = "policy-deny"
	EventPolicyWarn     EventAction = "policy-warn"
	EventPolicyOverride EventAction = "policy-override"
)
