package engine

import (
	"errors"
	"io/fs"
	"regexp"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/workspace"
)

// cause is one row of the table that tells errors apart: by what they wrap, or by the form of their text, which is all that
// Terraform hands on from its provider.
type cause struct {
	name string
	is   error
	form *regexp.Regexp
	kind api.Kind
	// after is when to try again if Azure did not say.
	after time.Duration
	// say is what happened and what to do. ${name} is a group of form, {said} what Azure or Terraform said, {image} the
	// container's image, {dir} the Terraform workspace.
	say string
}

// match returns the places of form's groups in text, nil when the row is not for this error.
func (c cause) match(err error, text string) []int {
	if c.is != nil && errors.Is(err, c.is) {
		return []int{0, 0}
	}
	if c.form == nil {
		return nil
	}
	return c.form.FindStringSubmatchIndex(text)
}

// When to try again if Azure does not say.
const (
	soon  = 30 * time.Second
	later = 5 * time.Minute
)

// causes is in order: the first row that matches one of an error's texts counts. The codes come first; the bare statuses, which say
// less and are wrong now and then (Microsoft.Web answers 401 when quota is missing), come last.
var causes = []cause{
	{
		name: "disk full", is: syscall.ENOSPC, kind: api.Internal,
		form: regexp.MustCompile(`no space left on device|disk quota exceeded`),
		say:  "the daemon's disk is full: {said}. Free space in its state folder (workspaces/archive may be deleted) and try again",
	},
	{
		name: "lock", kind: api.Conflict,
		form: regexp.MustCompile(`Error acquiring the state lock.*? ID: (?P<id>\S+) .*?Who: (?P<who>.+?) Version: .*?Created: (?P<when>.+?) Info:`),
		say: "another Terraform run holds its state: lock ${id}, taken by ${who} at ${when}. Let that run end, or end it: its lock ends with it. " +
			"Only when the state is in a remote backend and that run is dead: terraform -chdir={dir} force-unlock ${id}",
	},
	{
		name: "lock without information", kind: api.Conflict,
		form: regexp.MustCompile(`Error acquiring the state lock`),
		say:  "another Terraform run holds its state: {said}. Let the run in {dir} end, or end it: its lock ends with it",
	},
	{
		name: "locked by a process", is: workspace.ErrLocked, kind: api.Conflict,
		say: "{said}",
	},
	{
		name: "foreign", is: workspace.ErrForeign, kind: api.Conflict,
		say: "{said}. Delete or rename it in Azure; a new container gets a new name, and what containers share is named after --owner",
	},
	{
		name: "state lost", is: workspace.ErrNoState, kind: api.Internal,
		say: "{said}",
	},
	{
		name: "workspace lost", is: workspace.ErrNoWorkspace, kind: api.Internal,
		say: "{said}",
	},
	{
		name: "terraform not startable", kind: api.Internal,
		form: regexp.MustCompile(`fork/exec |[Ff]ailed to instantiate provider|[Ff]ailed to load plugin schemas|[Pp]lugin did not respond|waiting for plugin to start|` +
			`Unrecognized remote plugin message|[Ff]ailed to query available provider packages|Inconsistent dependency lock file|Required plugins are not installed`),
		say: "Terraform or its provider cannot be run: {said}. Check --terraform and run sockerless-backend-azf tools",
	},
	{
		name: "no permission on this machine", is: fs.ErrPermission, kind: api.Internal,
		say: "the daemon may not use a file of its own: {said}. Mend the owner and mode of the state folder",
	},
	{
		name: "no workers", kind: api.Unavailable, after: later,
		form: regexp.MustCompile(`[Ww]orkers (?:are not|aren't) available in resource group|WorkersNotAllowedInResourceGroup`),
		say:  "the resource group cannot have this kind of plan: {said}. Set --resource-group to one that holds no plan of another kind in this region, or take another --service-plan-sku",
	},
	{
		name: "quota", kind: api.Unavailable, after: later,
		form: regexp.MustCompile(`additional quota|quota of \d+ instance|QuotaExceeded|OverQuota|approved .*[Qq]uota|OperationNotAllowed.*[Qq]uota|ServerFarm.*[Qq]uota|` +
			`No available instances to satisfy|SkuNotAvailable|AllocationFailed`),
		say: "Azure has no quota or capacity left: {said}. Remove containers that are not needed, ask Azure for more quota, or take another --service-plan-sku or --location",
	},
	{
		name: "image refused", kind: api.Forbidden,
		form: regexp.MustCompile(`ImagePullUnauthorized|unauthorized: authentication required|pull access denied|denied: requested access to the resource|ImagePull\w*.*(?:unauthorized|denied|40[13])`),
		say:  "the registry refuses to hand out image {image}: {said}. Set --registry and its user name and password, or give the identity the role AcrPull",
	},
	{
		name: "image missing", kind: api.NotFound,
		form: regexp.MustCompile(`manifest unknown|manifest for .* not found|MANIFEST_UNKNOWN|NAME_UNKNOWN|name unknown|repository does not exist|ImageNotFound`),
		say:  "image {image} is not in its registry: {said}. Check the reference, or push the image",
	},
	{
		name: "image invalid", kind: api.InvalidParameter,
		form: regexp.MustCompile(`LinuxFxVersion|DOCKER\|\S* .*invalid`),
		say:  "Azure takes no image {image} here: {said}. Check the reference, and that the plan is a Linux plan of SKU B1, EP1 or above",
	},
	{
		name: "image pull", kind: api.Unavailable, after: soon,
		form: regexp.MustCompile(`ImagePull(?:Failure|BackOff|Error)|ErrImagePull|[Ff]ailed to pull image|image pull failed`),
		say:  "Azure cannot pull image {image}: {said}. Check that Azure reaches the registry, and look at the container's start-up log in the portal (Log stream)",
	},
	{
		name: "network", kind: api.Unavailable, after: soon,
		form: regexp.MustCompile(`dial (?:tcp|udp)|no such host|connection re(?:fused|set)|network is unreachable|i/o timeout|TLS handshake timeout|tls: |x509: |proxyconnect|HTTP response was nil`),
		say:  "Azure cannot be reached: {said}. Check network, DNS, proxy and certificates of the daemon's machine",
	},
	{
		name: "credential", kind: api.Unavailable,
		form: regexp.MustCompile(`AADSTS\d+|could not configure \w+ Authorizer|unable to build authorizer|building account: |az login|exec: "az"|\w+Token: (?:received|cannot)|` +
			`ManagedIdentityAuthorizer|Credential(?: authentication failed|: )|(?:Invalid|Expired)AuthenticationToken|could not configure AzureRm Provider|AuthenticationFailed:`),
		say: "the daemon cannot log in to Azure: {said}. Mend the credential that --credential names (log in again, or renew the secret or certificate)",
	},
	{
		name: "policy", kind: api.Forbidden,
		form: regexp.MustCompile(`RequestDisallowedByPolicy.*?policyAssignment\\?": ?\{\\?"name\\?": ?\\?"(?P<policy>[^"\\]+)`),
		say:  "the Azure policy ${policy} forbids it: {said}. Have the resource exempted from that policy, or choose settings that it allows",
	},
	{
		name: "policy without name", kind: api.Forbidden,
		form: regexp.MustCompile(`RequestDisallowedBy\w*Policy|disallowed by policy`),
		say:  "an Azure policy forbids it: {said}. Have the resource exempted from that policy, or choose settings that it allows",
	},
	{
		name: "linked authorization", kind: api.Forbidden,
		form: regexp.MustCompile(`[Tt]he client '(?P<client>[^']*)'.*?does not have permission to perform action(?:\(s\))? '(?P<action>[^']*)' on the linked scope(?:\(s\))? '(?P<scope>[^']*)'`),
		say:  "the daemon may not do ${action} on ${scope}: {said}. Grant a role with the action ${action} on scope ${scope} to the daemon's identity (client id ${client})",
	},
	{
		name: "authorization", kind: api.Forbidden,
		form: regexp.MustCompile(`[Tt]he client '(?P<client>[^']*)'.*?does not have authorization to perform action '(?P<action>[^']*)' over scope '(?P<scope>[^']*)'`),
		say:  "the daemon may not do ${action} on ${scope}: {said}. Grant a role with the action ${action} on scope ${scope} to the daemon's identity (client id ${client})",
	},
	{
		name: "subscription disabled", kind: api.Forbidden,
		form: regexp.MustCompile(`ReadOnlyDisabledSubscription|SubscriptionIsDisabled`),
		say:  "Azure has closed the subscription to changes: {said}. Enable the subscription, or set --subscription-id to another one",
	},
	{
		name: "log analytics access", kind: api.Forbidden,
		form: regexp.MustCompile(`InsufficientAccessError|needs the role Log Analytics Reader`),
		say:  "Log Analytics does not let the daemon read: {said}. Grant it the role Log Analytics Reader on the workspace",
	},
	{
		name: "authorization without action", kind: api.Forbidden,
		form: regexp.MustCompile(`AuthorizationFailed|unexpected status 403|invocation unauthorized`),
		say:  "Azure forbids it to the daemon: {said}. Grant the daemon's identity a role that allows it, such as Contributor on the resource group",
	},
	{
		name: "provider not registered", kind: api.Unavailable,
		form: regexp.MustCompile(`(?:MissingSubscriptionRegistration|Resource Provider was not registered).*?namespace '(?P<namespace>[\w.]+)'`),
		say:  "the subscription does not know ${namespace} yet: {said}. Run az provider register --namespace ${namespace}, and try again when it is registered",
	},
	{
		name: "scope locked", kind: api.Conflict,
		form: regexp.MustCompile(`ScopeLocked`),
		say:  "a management lock in Azure forbids it: {said}. Remove the lock and try again",
	},
	{
		name: "busy", kind: api.Conflict,
		form: regexp.MustCompile(`another operation is in progress|AnotherOperationInProgress`),
		say:  "Azure is at work on the same app or plan: {said}. Try again when that operation is done",
	},
	{
		name: "name taken", kind: api.Conflict,
		form: regexp.MustCompile(`already exists|failed the availability check|[Hh]ostname '[^']*' (?:is )?not available|InvalidResourceLocation`),
		say:  "the name is taken in Azure: {said}. Delete or rename what has it; a new container gets a new name, and what containers share is named after --owner",
	},
	{
		name: "throttled", is: logs.ErrThrottled, kind: api.Unavailable, after: soon,
		form: regexp.MustCompile(`TooManyRequests|RequestsThrottled|OperationNotAllowed.*too many requests|unexpected status 429`),
		say:  "Azure takes no more requests for now: {said}. Try again later, and create fewer containers at a time",
	},
	{
		name: "resource group missing", kind: api.NotFound,
		form: regexp.MustCompile(`ResourceGroupNotFound`),
		say:  "{said}. Create the resource group, or correct --resource-group",
	},
	{
		name: "subscription missing", kind: api.NotFound,
		form: regexp.MustCompile(`SubscriptionNotFound|InvalidSubscriptionId`),
		say:  "{said}. Correct --subscription-id, or give the daemon's identity a role in the subscription",
	},
	{
		name: "resource missing", kind: api.NotFound,
		form: regexp.MustCompile(`ParentResourceNotFound|ResourceNotFound|\) (?:was )?not found|unexpected status 404|invocation not_found`),
		say:  "it needs something that is not in Azure: {said}. Create it, or correct its name in the daemon's configuration",
	},
	{
		name: "pricing tier", kind: api.InvalidParameter,
		form: regexp.MustCompile(`[Pp]ricing tier.*(?:isn't|not) allowed`),
		say:  "Azure does not allow this plan here: {said}. Take another --service-plan-sku, or a resource group of its own",
	},
	{
		name: "logs timed out", kind: api.Unavailable, after: soon,
		form: regexp.MustCompile(`query logs of .*(?:context deadline exceeded|GatewayTimeout|unexpected status 504)`),
		say:  "Log Analytics did not answer in time: {said}. Ask for a shorter time with since and until",
	},
	{
		name: "operation timed out", kind: api.Unavailable,
		form: regexp.MustCompile(`context deadline exceeded|timeout while waiting for|OperationTimedOut|GatewayTimeout|unexpected status (?:408|504)`),
		say:  "Azure did not finish in time: {said}. The operation may go on there: look for the function app before you try again. If the container is kept, remove it, which deletes what was made",
	},
	{
		name: "invalid", kind: api.InvalidParameter,
		form: regexp.MustCompile(`BadRequest|InvalidParameter|InvalidRequestContent|LocationNotAvailable|unexpected status 400|Invalid value for variable|postcondition failed|expected "?[\w.]+"? to `),
		say:  "Azure does not take what was asked for: {said}. Change it and try again",
	},
	{
		name: "conflict", kind: api.Conflict,
		form: regexp.MustCompile(`Conflict: |unexpected status 409`),
		say:  "it conflicts with what is in Azure: {said}. Try again when that has changed",
	},
	{
		name: "azure fails", kind: api.Unavailable, after: soon,
		form: regexp.MustCompile(`unexpected status 5\d\d|InternalServerError|ServiceUnavailable|giving up after \d+ attempt|invocation (?:network|not_ready)`),
		say:  "Azure itself fails: {said}. Try again later",
	},
	{
		name: "logs in part", is: logs.ErrPartial, kind: api.Unavailable,
		say: "{said}. Ask for a shorter time with since and until",
	},
	{
		name: "unauthorized", kind: api.Unavailable,
		form: regexp.MustCompile(`unexpected status 401`),
		say:  "Azure does not accept the daemon's login: {said}. Mend the credential that --credential names",
	},
	{name: "unknown", kind: api.Unavailable, say: "{said}"},
}
