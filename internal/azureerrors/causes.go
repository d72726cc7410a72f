package azureerrors

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

// cause is one row of the table that classifies errors: by an error in the chain, or by the form of the message.
// Terraform hands on nothing but messages from its provider.
type cause struct {
	name string
	// wrapped, when set, matches an error that wraps it.
	wrapped error
	// form, when set, matches a message.
	form *regexp.Regexp
	kind api.Kind
	// retryAfter is the delay that a client should wait if Azure names none; 0 means that nobody knows.
	retryAfter time.Duration
	// message states what happened and what to do. ${name} is a group of form, {reason} Azure's or Terraform's own
	// message, {image} the container's image, {dir} the Terraform workspace.
	message string
}

// match returns the positions of form's groups in text, or nil if the row does not describe this error.
func (c cause) match(err error, text string) []int {
	if c.wrapped != nil && errors.Is(err, c.wrapped) {
		return []int{0, 0}
	}
	if c.form == nil {
		return nil
	}
	return c.form.FindStringSubmatchIndex(text)
}

// Delays before a retry if Azure names none.
const (
	retrySoon  = 30 * time.Second
	retryLater = 5 * time.Minute
)

// causes is ordered: the first row that matches one of an error's messages wins. Codes come first. Bare statuses come
// last, because they are less specific and sometimes wrong: Microsoft.Web answers 401 when quota is missing.
var causes = []cause{
	{
		name: "disk full", wrapped: syscall.ENOSPC, kind: api.Internal,
		form: regexp.MustCompile(`no space left on device|disk quota exceeded`),
		message: "the daemon's disk is full: {reason}. Free space in its state folder (workspaces/archive may be deleted) " +
			"and try again",
	},
	{
		name: "lock", kind: api.Conflict,
		form: regexp.MustCompile(`Error acquiring the state lock.*? ID: (?P<id>\S+) .*?` +
			`Who: (?P<who>.+?) Version: .*?Created: (?P<when>.+?) Info:`),
		message: "another Terraform run holds the state lock ${id}, taken by ${who} at ${when}. Let that run end, or " +
			"end it: its lock ends with it. Only when the state is in a remote backend and that run is dead: " +
			"terraform -chdir={dir} force-unlock ${id}",
	},
	{
		name: "lock without information", kind: api.Conflict,
		form: regexp.MustCompile(`Error acquiring the state lock`),
		message: "another Terraform run holds the state lock: {reason}. Let the run in {dir} end, or end it: its lock " +
			"ends with it",
	},
	{name: "locked by a process", wrapped: workspace.ErrLocked, kind: api.Conflict, message: "{reason}"},
	{
		name: "foreign", wrapped: workspace.ErrForeign, kind: api.Conflict,
		message: "{reason}. Delete or rename it in Azure. A new container gets a new name; what containers share is " +
			"named after --owner",
	},
	{name: "foundation changes", wrapped: workspace.ErrFoundationChanges, kind: api.Forbidden, message: "{reason}"},
	{name: "service plan changes", wrapped: workspace.ErrServicePlanChanges, kind: api.Forbidden, message: "{reason}"},
	{
		name: "newer state", wrapped: workspace.ErrNewerState, kind: api.Internal,
		message: "{reason}. Nothing was changed. Run the daemon with that Terraform or a later one (--terraform)",
	},
	{
		name: "newer provider", kind: api.Internal,
		form: regexp.MustCompile(`[Rr]esource instance managed by newer provider version|` +
			`created by a newer provider version`),
		message: "{reason}. Nothing was changed. Run the version of the daemon that created the resource, or a later one",
	},
	{
		name: "other state", wrapped: workspace.ErrOtherState, kind: api.Internal,
		message: "{reason}. Nothing was changed. Put the right state back, or remove this one: what it should hold is " +
			"looked for in Azure then",
	},
	{
		// The provider's own words, of a Go program that crashes.
		name: "provider panics", kind: api.Internal,
		form:    regexp.MustCompile(`(?:^| )(?P<crash>(?:panic|fatal error): .*?)(?: goroutine \d+ |$)`),
		message: "the Terraform provider crashed: ${crash}. " + afterCrash,
	},
	{
		name: "provider crashed", kind: api.Internal,
		// A request is cancelled, too, when the provider's process ends.
		form: regexp.MustCompile(`[Pp]lugin did not respond|Request cancelled: The plugin|encountered an error, ` +
			`and failed to respond|plugin crashed!|[Pp]lugin process terminated unexpectedly|` +
			`error reading from server: EOF|transport is closing`),
		message: "the Terraform provider crashed or was killed: {reason}. " + afterCrash,
	},
	{
		name: "terraform not startable", kind: api.Internal,
		form: regexp.MustCompile(`fork/exec |[Ff]ailed to instantiate provider|[Ff]ailed to load plugin schemas|` +
			`waiting for plugin to start|Unrecognized remote plugin message|` +
			`[Ff]ailed to query available provider packages|Inconsistent dependency lock file|` +
			`Required plugins are not installed`),
		message: "the daemon cannot run Terraform or its provider: {reason}. Check --terraform and run " +
			"sockerless-backend-azf tools",
	},
	{
		name: "no permission on this machine", wrapped: fs.ErrPermission, kind: api.Internal,
		message: "the daemon may not use one of its own files: {reason}. Fix the owner and mode of the state folder",
	},
	{
		name: "no workers", kind: api.Unavailable, retryAfter: retryLater,
		form: regexp.MustCompile(`[Ww]orkers (?:are not|aren't) available in resource group|` +
			`WorkersNotAllowedInResourceGroup`),
		message: "the resource group cannot have this kind of service plan: {reason}. Set --resource-group to one that " +
			"holds no service plan of another kind in this region, or choose another --service-plan-sku",
	},
	{
		name: "quota", kind: api.Unavailable, retryAfter: retryLater,
		form: regexp.MustCompile(`additional quota|quota of \d+ instance|QuotaExceeded|OverQuota|approved .*[Qq]uota|` +
			`OperationNotAllowed.*[Qq]uota|ServerFarm.*[Qq]uota|No available instances to satisfy|SkuNotAvailable|` +
			`AllocationFailed`),
		message: "Azure has no quota or capacity left: {reason}. Remove containers that are not needed, ask Azure for " +
			"more quota, or choose another --service-plan-sku or --location",
	},
	{
		name: "image refused", kind: api.Forbidden,
		form: regexp.MustCompile(`ImagePullUnauthorized|unauthorized: authentication required|pull access denied|` +
			`denied: requested access to the resource|ImagePull\w*.*(?:unauthorized|denied|40[13])`),
		message: "the registry refuses access to image {image}: {reason}. Set --registry and its user name and " +
			"password, or give the identity the role AcrPull",
	},
	{
		name: "image missing", kind: api.NotFound,
		form: regexp.MustCompile(`manifest unknown|manifest for .* not found|MANIFEST_UNKNOWN|NAME_UNKNOWN|name unknown|` +
			`repository does not exist|ImageNotFound`),
		message: "image {image} is not in its registry: {reason}. Check the reference, or push the image",
	},
	{
		name: "image invalid", kind: api.InvalidParameter,
		form: regexp.MustCompile(`LinuxFxVersion|DOCKER\|\S* .*invalid`),
		message: "Azure does not accept image {image} here: {reason}. Check the reference, and that the service plan is " +
			"a Linux plan of SKU B1, EP1 or above",
	},
	{
		name: "image pull", kind: api.Unavailable, retryAfter: retrySoon,
		form: regexp.MustCompile(`ImagePull(?:Failure|BackOff|Error)|ErrImagePull|[Ff]ailed to pull image|image pull failed`),
		message: "Azure cannot pull image {image}: {reason}. Check that Azure reaches the registry, and read the " +
			"container's start-up log in the portal (Log stream)",
	},
	{
		name: "network", kind: api.Unavailable, retryAfter: retrySoon,
		form: regexp.MustCompile(`dial (?:tcp|udp)|no such host|connection re(?:fused|set)|network is unreachable|` +
			`i/o timeout|TLS handshake timeout|tls: |x509: |proxyconnect|HTTP response was nil`),
		message: "the daemon cannot reach Azure: {reason}. Check network, DNS, proxy and certificates of the daemon's " +
			"machine",
	},
	{
		name: "credential", kind: api.Unavailable,
		form: regexp.MustCompile(`AADSTS\d+|could not configure \w+ Authorizer|unable to build authorizer|` +
			`building account: |az login|exec: "az"|\w+Token: (?:received|cannot)|ManagedIdentityAuthorizer|` +
			`Credential(?: authentication failed|: )|(?:Invalid|Expired)AuthenticationToken|` +
			`could not configure AzureRm Provider|AuthenticationFailed:`),
		message: "the daemon cannot log in to Azure: {reason}. Renew the credential that --credential selects: log in " +
			"again, or replace the secret or certificate",
	},
	{
		// Azure's details of a refusal name the tag. They are in what azurerm shows of a failed long-running operation.
		name: "policy on a tag", kind: api.Forbidden,
		form: regexp.MustCompile(`RequestDisallowedBy\w*Policy.*?\\?"path\\?": ?\\?"tags(?:\[\\?'?|\.)(?P<tag>[^]'"\\]+)`),
		message: "an Azure policy forbids it because of the tag ${tag}: {reason}. Set azf.tags (--tags) to what the policy " +
			"requires, or have the resource exempted from it",
	},
	{
		name: "policy", kind: api.Forbidden,
		form: regexp.MustCompile(`RequestDisallowedByPolicy.*?policyAssignment\\?": ?\{\\?"name\\?": ?` +
			`\\?"(?P<policy>[^"\\]+)`),
		message: "the Azure policy ${policy} forbids it: {reason}. " + policyRemedy,
	},
	{
		// Where the policy has a message of its own, Azure's names no policy: "Reasons: 'Set the tag team.'".
		name: "policy without name", kind: api.Forbidden,
		form:    regexp.MustCompile(`RequestDisallowedBy\w*Policy|disallowed by policy`),
		message: "an Azure policy forbids it: {reason}. " + policyRemedy,
	},
	{
		name: "linked authorization", kind: api.Forbidden,
		form: regexp.MustCompile(`[Tt]he client '(?P<client>[^']*)'.*?` +
			`does not have permission to perform action(?:\(s\))? '(?P<action>[^']*)' ` +
			`on the linked scope(?:\(s\))? '(?P<scope>[^']*)'`),
		message: missingRole,
	},
	{
		name: "authorization", kind: api.Forbidden,
		form: regexp.MustCompile(`[Tt]he client '(?P<client>[^']*)'.*?` +
			`does not have authorization to perform action '(?P<action>[^']*)' over scope '(?P<scope>[^']*)'`),
		message: missingRole,
	},
	{
		name: "subscription disabled", kind: api.Forbidden,
		form: regexp.MustCompile(`ReadOnlyDisabledSubscription|SubscriptionIsDisabled`),
		message: "the subscription is disabled, so Azure refuses changes: {reason}. Enable the subscription, or set " +
			"--subscription-id to another one",
	},
	{
		name: "log analytics access", kind: api.Forbidden,
		form: regexp.MustCompile(`InsufficientAccessError|needs the role Log Analytics Reader`),
		message: "the daemon may not read Log Analytics: {reason}. Grant it the role Log Analytics Reader on the " +
			"Log Analytics workspace",
	},
	{
		name: "authorization without action", kind: api.Forbidden,
		form: regexp.MustCompile(`AuthorizationFailed|unexpected status 403|invocation unauthorized`),
		message: "Azure denies the daemon access: {reason}. Grant the daemon's identity a role that allows it, such as " +
			"Contributor on the resource group",
	},
	{
		name: "provider not registered", kind: api.Unavailable,
		form: regexp.MustCompile(`(?:MissingSubscriptionRegistration|Resource Provider was not registered).*?` +
			`namespace '(?P<namespace>[\w.]+)'`),
		message: "the subscription has not registered ${namespace}: {reason}. Run az provider register " +
			"--namespace ${namespace}, and try again when it is registered",
	},
	{
		name: "scope locked", kind: api.Conflict,
		form:    regexp.MustCompile(`ScopeLocked`),
		message: "a management lock in Azure forbids it: {reason}. Remove the lock and try again",
	},
	{
		name: "busy", kind: api.Conflict,
		form:    regexp.MustCompile(`another operation is in progress|AnotherOperationInProgress`),
		message: "Azure is changing the same app or service plan: {reason}. Try again when that operation has ended",
	},
	{
		name: "name taken", kind: api.Conflict,
		form: regexp.MustCompile(`already exists|failed the availability check|` +
			`[Hh]ostname '[^']*' (?:is )?not available|InvalidResourceLocation`),
		message: "the name is taken in Azure: {reason}. Delete or rename the resource that has it. A new container gets " +
			"a new name; what containers share is named after --owner",
	},
	{
		name: "throttled", wrapped: logs.ErrThrottled, kind: api.Unavailable, retryAfter: retrySoon,
		form: regexp.MustCompile(`TooManyRequests|RequestsThrottled|OperationNotAllowed.*too many requests|` +
			`unexpected status 429`),
		message: "Azure throttles the daemon's requests: {reason}. Try again later, and create fewer containers at a time",
	},
	{
		name: "resource group missing", kind: api.NotFound,
		form:    regexp.MustCompile(`ResourceGroupNotFound`),
		message: "{reason}. Create the resource group, or correct --resource-group",
	},
	{
		name: "subscription missing", kind: api.NotFound,
		form:    regexp.MustCompile(`SubscriptionNotFound|InvalidSubscriptionId`),
		message: "{reason}. Correct --subscription-id, or give the daemon's identity a role in the subscription",
	},
	{
		name: "resource missing", kind: api.NotFound,
		form: regexp.MustCompile(`ParentResourceNotFound|ResourceNotFound|\) (?:was )?not found|unexpected status 404|` +
			`invocation not_found`),
		message: "a required resource does not exist: {reason}. Create it, or correct its name in the daemon's " +
			"configuration",
	},
	{
		name: "pricing tier", kind: api.InvalidParameter,
		form: regexp.MustCompile(`[Pp]ricing tier.*(?:isn't|not) allowed`),
		message: "Azure does not allow this service plan here: {reason}. Choose another --service-plan-sku, or a " +
			"resource group of its own",
	},
	{
		name: "logs timed out", kind: api.Unavailable, retryAfter: retrySoon,
		form:    regexp.MustCompile(`query logs of .*(?:context deadline exceeded|GatewayTimeout|unexpected status 504)`),
		message: "Log Analytics did not answer in time: {reason}. Ask for a shorter time with since and until",
	},
	{
		name: "operation timed out", kind: api.Unavailable,
		form: regexp.MustCompile(`context deadline exceeded|timeout while waiting for|OperationTimedOut|GatewayTimeout|` +
			`unexpected status (?:408|504)`),
		message: "Azure did not finish in time: {reason}. The operation may go on there: look for the function app " +
			"before you try again. If the container is kept, remove it, which deletes what was created",
	},
	{
		name: "invalid", kind: api.InvalidParameter,
		form: regexp.MustCompile(`BadRequest|InvalidParameter|InvalidRequestContent|LocationNotAvailable|` +
			`unexpected status 400|Invalid value for variable|postcondition failed|expected "?[\w.]+"? to `),
		message: "Azure does not accept the request: {reason}. Change it and try again",
	},
	{
		name: "conflict", kind: api.Conflict,
		form:    regexp.MustCompile(`Conflict: |unexpected status 409`),
		message: "the request conflicts with a resource in Azure: {reason}. Try again when that has changed",
	},
	{
		name: "azure fails", kind: api.Unavailable, retryAfter: retrySoon,
		form: regexp.MustCompile(`unexpected status 5\d\d|InternalServerError|ServiceUnavailable|` +
			`giving up after \d+ attempt|invocation (?:network|not_ready)`),
		message: "Azure returned a server error: {reason}. Try again later",
	},
	{
		name: "logs in part", wrapped: logs.ErrPartial, kind: api.Unavailable,
		message: "{reason}. Ask for a shorter time with since and until",
	},
	{
		name: "unauthorized", kind: api.Unavailable,
		form:    regexp.MustCompile(`unexpected status 401`),
		message: "Azure does not accept the daemon's login: {reason}. Renew the credential that --credential selects",
	},
	{name: "unknown", kind: api.Unavailable, message: "{reason}"},
}

// afterCrash follows what a crash of the provider was.
const afterCrash = "Its output is in the daemon's log. Try again. If it happens again, look whether this machine has " +
	"run out of memory, and report a crash at github.com/hashicorp/terraform-provider-azurerm/issues"

// policyRemedy ends the message of a policy's refusal that does not say what the policy requires.
const policyRemedy = "If it requires tags, set azf.tags (--tags). Otherwise choose settings that the policy allows, " +
	"or have the resource exempted from it"

// missingRole is the message of a refusal that names the action, the scope and the client.
const missingRole = "the daemon may not do ${action} on ${scope}: {reason}. Grant a role with the action ${action} " +
	"on scope ${scope} to the daemon's identity (client id ${client})"
