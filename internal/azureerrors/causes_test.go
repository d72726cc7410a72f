package azureerrors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/workspace"
)

const (
	correlation = "7a3c1d2e-0b4f-4c5d-9e6f-1a2b3c4d5e6f"
	requestID   = "c4bcc3d5-418b-4ca3-b9e3-ac601e74ee49"
	scope       = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Web/sites/" +
		"skls-1"
	creating = `creating Linux App Service (Subscription: "00000000-0000-0000-0000-000000000001" Resource Group ` +
		`Name: "rg" Site Name: "skls-1"): performing CreateOrUpdate: `
	creatingPlan = `creating App Service Plan (Subscription: "00000000-0000-0000-0000-000000000001" Resource Group ` +
		`Name: "rg" Server Farm Name: "skls-plan"): performing CreateOrUpdate: `
)

// terraformFailed returns the error of a Terraform run that failed with these diagnostics.
func terraformFailed(diagnostics ...string) error {
	return &workspace.TerraformError{Step: "apply", Dir: "/state/w", CorrelationID: correlation, Diagnostics: diagnostics,
		Err: errors.New("exit status 1")}
}

// azureAnswered returns the SDK's error for a response of Azure.
func azureAnswered(status int, body string, header http.Header) error {
	if header == nil {
		header = http.Header{}
	}
	return runtime.NewResponseError(&http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: header,
		Body: io.NopCloser(strings.NewReader(body))})
}

// samples has at least one error for each row of causes, in the form in which the daemon receives it.
var samples = []struct {
	cause string
	err   error
	kind  api.Kind
	after time.Duration
	want  []string // in the message
}{
	{"lock", terraformFailed("Error acquiring the state lock: Error message: resource temporarily unavailable\nLock " +
		"Info:\n  ID:        f309e061-babd-5c1b-0089-48b76a745185\n" +
		"  Path:      terraform.tfstate\n  Operation: OperationTypeApply\n  Who:       root@vm\n  Version:   1.11.4\n  " +
		"Created:   2026-11-24 08:36:24.91665794 +0000 UTC\n  Info:      \n\n\n" +
		"Terraform acquires a state lock to protect the state from being written\nby multiple users at the same time. " +
		"Please resolve the issue above and try\nagain."),
		api.Conflict, 0, []string{"lock f309e061-babd-5c1b-0089-48b76a745185",
			"by root@vm at 2026-11-24 08:36:24.91665794 +0000 UTC",
			"terraform -chdir=/state/w force-unlock f309e061-babd-5c1b-0089-48b76a745185"}},
	{"locked by a process", fmt.Errorf("workspace /state/w: %w: process 7; let it end, or end it", workspace.ErrLocked),
		api.Conflict, 0, []string{"process 7", "let it end"}},
	{"foreign", fmt.Errorf("%s exists: its tags are a=\"b\": %w", scope, workspace.ErrForeign), api.Conflict, 0,
		[]string{"skls-1 exists", "belongs to somebody else", "--owner"}},
	{"lock without information", terraformFailed("Error acquiring the state lock: Error message: open " +
		".terraform.tfstate.lock.info: input/output error"), api.Conflict, 0, []string{"input/output error", "/state/w"}},
	{"foundation changes", fmt.Errorf("workspace /w: %w: x would be deleted", workspace.ErrFoundationChanges),
		api.Forbidden, 0, []string{"x would be deleted"}},
	{"service plan changes", fmt.Errorf("workspace /w: %w: x would be deleted", workspace.ErrServicePlanChanges),
		api.Forbidden, 0, []string{"x would be deleted"}},
	{"newer state", fmt.Errorf("repair workspace /w: its format has version 5: %w", workspace.ErrNewerState),
		api.Internal, 0, []string{"version 5", "Nothing was changed", "--terraform"}},
	{"newer provider", terraformFailed("Resource instance managed by newer provider version: The current state of " +
		"azurerm_linux_function_app.this was created by a newer provider version than is currently selected."),
		api.Internal, 0, []string{"azurerm_linux_function_app.this", "Nothing was changed"}},
	{"other state", fmt.Errorf("state v1/x has /sites/y: %w", workspace.ErrOtherState), api.Internal, 0,
		[]string{"/sites/y", "Nothing was changed"}},
	{"disk full", fmt.Errorf("keep plan: %w", &fs.PathError{Op: "write", Path: "/state/w/.tmp-1", Err: syscall.ENOSPC}),
		api.Internal, 0, []string{"/state/w/.tmp-1", "Free space"}},
	{"disk full", terraformFailed("Failed to save state: Error saving state: write terraform.tfstate: no space left on " +
		"device"), api.Internal, 0, []string{"Free space"}},
	{"disk full", terraformFailed("Error acquiring the state lock: Error message: could not write lock info for " +
		"\"terraform.tfstate\": write .terraform.tfstate.lock.info: no space left on device"), api.Internal, 0,
		[]string{"Free space"}},
	{"provider crashed", terraformFailed("Plugin did not respond: The plugin encountered an error, and failed to " +
		"respond to the plugin.(*GRPCProvider).ApplyResourceChange call. The plugin logs may contain more details."),
		api.Internal, 0, []string{"provider crashed or was killed: Plugin did not respond: The plugin", "more details. Its",
			"in the daemon's log", "out of memory"}},
	{"provider crashed", terraformFailed("The plugin process terminated unexpectedly"), api.Internal, 0, nil},
	{"provider crashed", terraformFailed("Request cancelled: The plugin.(*GRPCProvider).ApplyResourceChange request was " +
		"cancelled"), api.Internal, 0, nil},
	{"provider crashed", terraformFailed("Error: rpc error: code = Unavailable desc = error reading from " +
		"server: EOF"), api.Internal, 0, nil},
	{"provider panics", terraformFailed("panic: runtime error: invalid memory address or nil pointer dereference\n"+
		"[signal SIGSEGV: segmentation violation code=0x1 addr=0x8 pc=0x4]\n\ngoroutine 7 [running]:\nmain.main()",
		"Plugin did not respond: The plugin encountered an error"), api.Internal, 0,
		[]string{"the Terraform provider crashed: panic: runtime error: invalid memory address or nil pointer dereference " +
			"[signal SIGSEGV: segmentation violation code=0x1 addr=0x8 pc=0x4]. Its output is"}},
	{"terraform not startable",
		&workspace.TerraformError{Step: "init", Dir: "/state/w",
			Err: &os.PathError{Op: "fork/exec", Path: "/usr/bin/terraform", Err: syscall.ENOENT}}, api.Internal, 0,
		[]string{"/usr/bin/terraform", "--terraform"}},
	{"terraform not startable",
		&workspace.TerraformError{Step: "init", Dir: "/state/w",
			Err: errors.New("exit status 1\n╷\n│ Error: Failed to query available provider packages\n│ \n│ Could not " +
				"retrieve the list of available versions for provider\n│ hashicorp/azurerm: provider " +
				"registry.terraform.io/hashicorp/azurerm was not\n│ found in any of the search locations\n╵")},
		api.Internal, 0, []string{"Error: Failed to query available provider packages Could not retrieve",
			"sockerless-backend-azf tools"}},
	{"no permission on this machine",
		fmt.Errorf("render workspace /w: %w", &fs.PathError{Op: "open", Path: "/w/main.tf", Err: syscall.EACCES}),
		api.Internal, 0, []string{"/w/main.tf"}},
	{"no workers", terraformFailed(creatingPlan + `unexpected status 400 (400 Bad Request) with response: ` +
		`{"Code":"BadRequest","Message":"Linux dynamic workers are not available in resource group rg. Use this link to ` +
		`learn more http://go.microsoft.com/fwlink/?LinkId=825764.","Target":null,"Details":[{"Message":"Linux dynamic ` +
		`workers are not available"},{"Code":"BadRequest"}],"Innererror":null}`),
		api.Unavailable, 5 * time.Minute, []string{"BadRequest: Linux dynamic workers are not available in resource group " +
			"rg.", "--resource-group"}},
	{"quota", terraformFailed(creatingPlan + `unexpected status 401 (401 Unauthorized) with response: ` +
		`{"Code":"Unauthorized","Message":"Operation cannot be completed without additional quota. \r\nAdditional details ` +
		`- Location:  \r\nCurrent Limit (Basic VMs): 0 \r\nCurrent Usage: 0\r\nAmount required for this deployment ` +
		`(Basic VMs): 1 \r\n(Minimum) New Limit that you should request to enable this deployment: ` +
		`1.","Target":null,"Details":[{"Message":"Operation cannot"}],"Innererror":null}`),
		api.Unavailable, 5 * time.Minute, []string{"Current Limit (Basic VMs): 0 Current Usage: 0", "more quota"}},
	{"quota", terraformFailed(creatingPlan + `unexpected status 401 (401 Unauthorized) with error: Unauthorized: This ` +
		`region has quota of 0 instances for your subscription. Try selecting different region or SKU.`), api.Unavailable,
		5 * time.Minute, []string{"different region or SKU. Remove containers"}},
	{"quota", terraformFailed(`unexpected status 409 (409 Conflict) with error: OperationNotAllowed: Operation could ` +
		`not be completed as it results in exceeding approved Total Regional Cores quota.`), api.Unavailable,
		5 * time.Minute, nil},
	{"image refused", terraformFailed(creating + `polling failed: the Azure API returned the following error: Status: ` +
		`"Failed" Code: "ImagePullUnauthorizedFailure" Message: "unauthorized: authentication required" Activity Id: "` +
		requestID + `" --- API Response: ----[start]---- {} -----[end]-----`),
		api.Forbidden, 0, []string{"image registry.example.com/team/app:1",
			"ImagePullUnauthorizedFailure: unauthorized: authentication required. ", "AcrPull", "request id " + requestID}},
	{"image missing", terraformFailed(creating + `unexpected status 400 (400 Bad Request) with error: BadRequest: ` +
		`manifest for registry.example.com/team/app:1 not found: manifest unknown: manifest tagged by "1" is not found`),
		api.NotFound, 0, []string{"image registry.example.com/team/app:1", "push the image"}},
	{"image invalid", terraformFailed(creating + `unexpected status 400 (400 Bad Request) with response: ` +
		`{"Code":"BadRequest","Message":"The parameter LinuxFxVersion has an invalid value.","Target":null,"Details":[]}`),
		api.InvalidParameter, 0, []string{"not accept image registry.example.com/team/app:1",
			"LinuxFxVersion has an invalid value. Check"}},
	{"image pull", terraformFailed(creating + `polling failed: ImagePullFailure: Failed to pull image: ` +
		`DockerTimeoutException`), api.Unavailable, 30 * time.Second, []string{"Log stream"}},
	{"network", terraformFailed(`building account: could not acquire access token to parse claims: ` +
		`clientCredentialsToken: cannot request token: Post "https://login.microsoftonline.com/t/oauth2/v2.0/token": dial ` +
		`tcp: lookup login.microsoftonline.com: no such host`), api.Unavailable, 30 * time.Second, []string{"DNS"}},
	{"credential", terraformFailed(`building account: could not acquire access token to parse claims: ` +
		`clientCredentialsToken: received HTTP status 401 with response: ` +
		`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1 ` +
		`Correlation ID: 2"}`), api.Unavailable, 0,
		[]string{"to Azure: AADSTS7000215: Invalid client secret provided. Renew", "--credential"}},
	{"credential", terraformFailed(`unable to build authorizer for Resource Manager API: could not configure AzureCli ` +
		`Authorizer: could not parse Azure CLI version: launching Azure CLI: exec: "az": executable file not found in ` +
		`$PATH`), api.Unavailable, 0, nil},
	{"credential", errors.New("query logs of skls-1: DefaultAzureCredential: failed to acquire a token.\nAttempted " +
		"credentials:\n\tEnvironmentCredential: missing environment variable AZURE_TENANT_ID"), api.Unavailable, 0, nil},
	{"policy", terraformFailed(creating + `unexpected status 403 (403 Forbidden) with error: ` +
		`RequestDisallowedByPolicy: Resource 'skls-1' was disallowed by policy. Policy identifiers: ` +
		`'[{"policyAssignment":{"name":"only-west-europe","id":"/subscriptions/1/providers/Microsoft.Authorization/` +
		`policyAssignments/only-west-europe"},"policyDefinition":{"name":"x"}}]'.`), api.Forbidden, 0,
		[]string{"policy only-west-europe forbids it"}},
	{"policy", terraformFailed(creating + `unexpected status 403 (403 Forbidden) with response: ` +
		`{"Code":"RequestDisallowedByPolicy","Message":"Resource 'skls-1' was disallowed by policy. Policy identifiers: ` +
		`'[{\"policyAssignment\":{\"name\":\"only-west-europe\",\"id\":\"/x\"}}]'."}`), api.Forbidden, 0,
		[]string{"policy only-west-europe forbids it"}},
	{"policy", terraformFailed(creating + `unexpected status 403 (403 Forbidden) with error: ` +
		`RequestDisallowedByPolicy: Resource 'skls-1' was disallowed by policy. Policy identifiers: '[{"policyAssignment":{` +
		`"name":"Enforce Owner Tag","id":"/x"},"policyDefinition":{"name":"EnforceTagging"}}]'.`), api.Forbidden, 0,
		[]string{"policy Enforce Owner Tag forbids it", "If it requires tags, set azf.tags"}},
	{"policy without name", terraformFailed(creating + `unexpected status 403 (403 Forbidden) with error: ` +
		`RequestDisallowedByPolicy: Resource 'skls-1' was disallowed by policy. Reasons: 'Set the tag team.'. See error ` +
		`details for policy resource IDs.`), api.Forbidden, 0,
		[]string{"Reasons: 'Set the tag team.'", "If it requires tags, set azf.tags"}},
	{"policy on a tag", terraformFailed(creating + `polling failed: the Azure API returned the following error: Status: ` +
		`"Failed" Code: "RequestDisallowedByPolicy" Message: "Resource 'skls-1' was disallowed by policy." Activity Id: "" ` +
		`--- API Response: ----[start]---- {"error":{"code":"RequestDisallowedByPolicy","additionalInfo":[{"type":` +
		`"PolicyViolation","info":{"evaluationDetails":{"evaluatedExpressions":[{"result":"True","expressionKind":"Field",` +
		`"expression":"type","path":"type"},{"result":"True","expression":"tags[cost center]","path":"tags[cost center]",` +
		`"targetValue":"false","operator":"Exists"}]}}}]}} -----[end]-----`), api.Forbidden, 0,
		[]string{"because of the tag cost center: RequestDisallowedByPolicy: Resource 'skls-1' was", "Set azf.tags"}},
	{"policy without name", terraformFailed(creating +
		`unexpected status 403 (403 Forbidden) with error: RequestDisallowedByAzurePolicy: The resource action is ` +
		`disallowed by policy.`), api.Forbidden, 0, nil},
	{"linked authorization", terraformFailed(creating +
		`unexpected status 403 (403 Forbidden) with error: LinkedAuthorizationFailed: The client ` +
		`'f0000000-0000-0000-0000-000000000009' with object id 'b0000000-0000-0000-0000-000000000001' has permission to ` +
		`perform action 'Microsoft.Web/sites/write' on scope '` + scope +
		`'; however, it does not have permission to perform action(s) ` +
		`'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) ` +
		`'/subscriptions/1/identities/id' (respectively) or the linked scope(s) are invalid.`),
		api.Forbidden, 0, []string{"Grant a role with the action " +
			"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action on scope /subscriptions/1/identities/id to the " +
			"daemon's identity (client id f0000000-0000-0000-0000-000000000009)"}},
	{"authorization", terraformFailed(creating + "unexpected status 403 (403\nForbidden) with error: " +
		"AuthorizationFailed: The client 'f0000000-0000-0000-0000-000000000009' with object " +
		"id\n'b0000000-0000-0000-0000-000000000001' does not have authorization to perform\naction " +
		"'Microsoft.Web/sites/write' over scope\n'" + scope +
		"' or the scope is invalid. If access was recently granted, please refresh your credentials."),
		api.Forbidden, 0, []string{"Grant a role with the action Microsoft.Web/sites/write on scope " + scope +
			" to the daemon's identity (client id f0000000-0000-0000-0000-000000000009) (correlation id " + correlation + ")"}},
	{"authorization", fmt.Errorf("look for function app skls-1: %w",
		azureAnswered(403, `{"error":{"code":"AuthorizationFailed","message":"The client 'f' with object id 'b' does not `+
			`have authorization to perform action 'Microsoft.Web/sites/read' over scope '/s' or the scope is invalid."}}`,
			http.Header{"X-Ms-Correlation-Request-Id": {correlation}, "X-Ms-Request-Id": {requestID}})), api.Forbidden, 0,
		[]string{"Microsoft.Web/sites/read on scope /s", "(correlation id " + correlation + ", request id " + requestID +
			")"}},
	{"subscription disabled", terraformFailed(creating + `unexpected status 409 (409 Conflict) with error: ` +
		`ReadOnlyDisabledSubscription: The subscription '1' is disabled and therefore marked as read only.`), api.Forbidden,
		0, nil},
	{"log analytics access", fmt.Errorf("query logs of skls-1: the daemon's identity needs the role Log Analytics "+
		"Reader on workspace w: %w", azureAnswered(403, `{"error":{"message":"The provided credentials have insufficient `+
		`access to perform the requested operation","code":"InsufficientAccessError","correlationId":"1"}}`, nil)),
		api.Forbidden, 0, []string{"insufficient access", "Log Analytics Reader"}},
	{"authorization without action", azureAnswered(403, "", nil), api.Forbidden, 0, nil},
	{"provider not registered", terraformFailed("performing CreateOrUpdate: The Resource Provider was not " +
		"registered\n\nResource Providers (APIs) in Azure need to be registered before they can be used - however the " +
		"Resource\nProvider was not registered, and calling the API returned the following error:\n\n> The subscription " +
		"is not registered to use namespace 'Microsoft.Web'. See https://aka.ms/rps-not-found\n\nThe Azure Provider by " +
		"default"), api.Unavailable, 0, []string{"az provider register --namespace Microsoft.Web"}},
	{"scope locked", terraformFailed(`deleting Linux App Service: performing Delete: unexpected status 409 (409 ` +
		`Conflict) with error: ScopeLocked: The scope '/s' cannot perform delete operation because following scope(s) are ` +
		`locked: '/l'. Please remove the lock and try again.`), api.Conflict, 0, []string{"Remove the lock"}},
	{"busy", terraformFailed(creating + `unexpected status 409 (409 Conflict) with response: ` +
		`{"Code":"Conflict","Message":"Cannot modify this site because another operation is in progress. Details: Id: ` +
		`e2440937-ae53-41f4-b013-09884e027c45, OperationName: Create, CreatedTime: 7/20/2026 8:01:21 PM, RequestId: ` +
		requestID + `, EntityType: 3","Target":null}`),
		api.Conflict, 0, []string{"another operation is in progress",
			"(correlation id " + correlation + ", request id " + requestID + ")"}},
	{"busy", terraformFailed(creatingPlan + `unexpected status 429 (429 Too Many Requests) with response: ` +
		`{"Code":"Conflict","Message":"Cannot modify this web hosting plan because another operation is in progress. ` +
		`Details: Id: 1"}`), api.Conflict, 0, nil},
	{"name taken", terraformFailed(`the Site Name "skls-1" failed the availability check: Hostname 'skls-1' already ` +
		`exists. Please select a different name.`), api.Conflict, 0, nil},
	{"name taken", terraformFailed(`a resource with the ID "` + scope +
		`" already exists - to be managed via Terraform this resource needs to be imported into the State.`), api.Conflict,
		0, nil},
	{"throttled", terraformFailed(creating + `unexpected status 429 (429 Too Many Requests) with error: ` +
		`SubscriptionRequestsThrottled: Number of requests for subscription '1' and operation 'PUT/X' exceeded the ` +
		`backend storage limit. Please try again after '6' seconds.`), api.Unavailable, 6 * time.Second, nil},
	{"throttled", fmt.Errorf("query logs of skls-1: %w: %w", logs.ErrThrottled,
		azureAnswered(429, `{"error":{"message":"Too many requests","code":"ThrottledError"}}`,
			http.Header{"Retry-After": {"17"}})), api.Unavailable, 17 * time.Second, nil},
	{"throttled", azureAnswered(429, `{"error":{"code":"TooManyRequests","message":"The request is being throttled."}}`,
		nil), api.Unavailable, 30 * time.Second, nil},
	{"resource group missing", terraformFailed(creatingPlan + `unexpected status 404 (404 Not Found) with error: ` +
		`ResourceGroupNotFound: Resource group 'rg' could not be found.`), api.NotFound, 0,
		[]string{"Resource group 'rg' could not be found. Create the resource group"}},
	{"subscription missing", terraformFailed(creatingPlan +
		`unexpected status 404 (404 Not Found) with error: SubscriptionNotFound: The subscription '1' could not be found.`),
		api.NotFound, 0, []string{"--subscription-id"}},
	{"resource missing", terraformFailed(`App Service Plan (Subscription: "1" Resource Group Name: "rg" Server Farm ` +
		`Name: "no-plan") not found`), api.NotFound, 0, []string{`"no-plan"`}},
	{"resource missing", azureAnswered(404, `{"error":{"code":"ParentResourceNotFound","message":"Failed to perform `+
		`'read' on resource(s) of type 'x'"}}`, nil), api.NotFound, 0, nil},
	{"pricing tier", terraformFailed(creatingPlan +
		`unexpected status 409 (409 Conflict) with response: {"Code":"Conflict","Message":"The pricing tier 'Dynamic' is ` +
		`not allowed in this resource group. Use this link to learn more: https://go.microsoft.com/fwlink/?LinkId=825764"}`),
		api.InvalidParameter, 0, []string{"--service-plan-sku"}},
	{"logs timed out", fmt.Errorf("query logs of skls-1: %w",
		azureAnswered(504, `{"error":{"code":"GatewayTimeout","message":"timed out"}}`, nil)), api.Unavailable,
		30 * time.Second, []string{"since and until"}},
	{"operation timed out", terraformFailed(creating + `polling after CreateOrUpdate: context deadline exceeded`),
		api.Unavailable, 0, []string{"may go on there"}},
	{"operation timed out", terraformFailed(`waiting for deletion of Linux App Service: timeout while waiting for ` +
		`state to become 'deleted' (last state: 'pending', timeout: 30m0s)`), api.Unavailable, 0, nil},
	{"invalid", terraformFailed(creating + `unexpected status 400 (400 Bad Request) with error: InvalidParameter: ` +
		`Parameter 'x' is invalid.`), api.InvalidParameter, 0, []string{"Parameter 'x' is invalid. Change it"}},
	{"invalid", fmt.Errorf("query logs of skls-1: %w",
		azureAnswered(400, `{"error":{"message":"The request had some invalid `+
			`properties","code":"BadArgumentError","innererror":{"code":"SemanticError","message":"A semantic error `+
			`occurred."}}}`, nil)), api.InvalidParameter, 0,
		[]string{"BadArgumentError: The request had some invalid properties: SemanticError: A semantic error occurred."}},
	{"conflict", terraformFailed(creating + `unexpected status 409 (409 Conflict) with error: Conflict: Something else.`),
		api.Conflict, 0, nil},
	{"azure fails", terraformFailed(creating + `unexpected status 500 (500 Internal Server Error) with error: ` +
		`InternalServerError: There was an unexpected InternalServerError. Please try again later.`), api.Unavailable,
		30 * time.Second, nil},
	{"azure fails", &invoker.Error{Kind: invoker.KindNotReady, App: "skls-1",
		Message: "the host did not come up within 10m0s"}, api.Unavailable, 30 * time.Second, []string{"did not come up"}},
	{"authorization without action",
		&invoker.Error{Kind: invoker.KindUnauthorized, App: "skls-1", Message: "it refuses its own host key"}, api.Forbidden,
		0, nil},
	{"resource missing", &invoker.Error{Kind: invoker.KindNotFound, App: "skls-1",
		Message: "it has no function that answers"}, api.NotFound, 0, nil},
	{"logs in part", fmt.Errorf("query logs of skls-1: %w: too many rows", logs.ErrPartial), api.Unavailable, 0,
		[]string{"shorter time"}},
	{"unauthorized", azureAnswered(401, `{"error":{"code":"Unauthorized","message":"No."}}`, nil), api.Unavailable, 0,
		nil},
	{"unknown", terraformFailed("the provider reports something new"), api.Unavailable, 0,
		[]string{"terraform apply in /state/w failed: the provider reports something new"}},
	// The worst known of several counts, whatever their order.
	{"quota", terraformFailed("the provider reports something new", "unexpected status 500 (500 X) with error: E: e",
		"unexpected status 401 (401 Unauthorized) with error: Unauthorized: This region has quota of 0 instances."),
		api.Unavailable, 5 * time.Minute, []string{"quota of 0 instances"}},
}

func TestEachCause(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range samples {
		seen[row.cause] = true
		t.Run(row.cause, func(t *testing.T) {
			got := Explain("create container web", "registry.example.com/team/app:1", Secrets{}, row.err)
			head := "cannot create container web: " + headOf(row.cause)
			if got.Kind != row.kind || got.RetryAfter != row.after || !strings.HasPrefix(got.Message, head) {
				t.Errorf("got kind %d, retry after %s, %q\nwant kind %d, %s, row %q",
					got.Kind, got.RetryAfter, got.Message, row.kind, row.after, row.cause)
			}
			for _, text := range row.want {
				if !strings.Contains(got.Message, text) {
					t.Errorf("got %q\nwant %q in it", got.Message, text)
				}
			}
			if strings.ContainsAny(got.Message, "\n│{") && !strings.Contains(row.cause, "policy") {
				t.Errorf("got %q, want one line of prose", got.Message)
			}
			if run, ok := errors.AsType[*workspace.TerraformError](row.err); ok && got.CorrelationID != run.CorrelationID {
				t.Errorf("got correlation id %q, want %q", got.CorrelationID, run.CorrelationID)
			}
			if !errors.Is(got, row.err) {
				t.Error("the cause is lost")
			}
		})
	}
	for _, c := range causes {
		if !seen[c.name] {
			t.Errorf("no sample for %q", c.name)
		}
	}
}

// headOf returns the beginning of a row's message, up to the first placeholder.
func headOf(name string) string {
	for _, c := range causes {
		if c.name == name {
			head, _, _ := strings.Cut(c.message, "{")
			head, _, _ = strings.Cut(head, "$")
			return head
		}
	}
	return "no such row"
}

func TestOwnErrorsKeepTheirKind(t *testing.T) {
	own := &api.Error{Kind: api.InvalidParameter, Message: "no image given", RetryAfter: time.Second}
	got := Explain("create container web", "", Secrets{}, fmt.Errorf("build spec: %w", own))
	if got.Kind != api.InvalidParameter || got.Message != "cannot create container web: no image given" ||
		got.RetryAfter != time.Second || !errors.Is(got, own) {
		t.Errorf("got %+v", got)
	}
}

func TestCorrelationID(t *testing.T) {
	for header, want := range map[string]string{correlationHeader: "c", requestHeader: "c", "Other": ""} {
		if got := CorrelationID(http.Header{header: {"c"}}); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	both := http.Header{requestHeader: {"r"}, correlationHeader: {"c"}}
	if got := CorrelationID(both); got != "c" {
		t.Errorf("got %q, want the correlation id", got)
	}
}
