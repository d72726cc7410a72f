// Package audit is the trail of what was asked for, planned and done: the form of its records, the Merkle tree over
// them, signed checkpoints of the tree, and the verification of both. It must not know where the records are kept.
//
// A record is one line of JSON. Its bytes are what the tree holds the hash of, so they are kept, exported and compared
// as they are, and never encoded again. The tree is that of RFC 6962.
//
// A record holds no value of a container's environment and no other secret. Names, labels and commands of containers
// are claims of the requester; of commands and labels there are only digests.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// Version is the version of the form of records.
const Version = 1

// Action is what a record is about.
type Action string

// Actions. Those of a Terraform operation have an Outcome: OutcomeBegun before anything can change, and a second record
// with the end.
const (
	// ActionStart is the start of a daemon, with its configuration and tools.
	ActionStart Action = "daemon-start"
	// ActionBaseline is a container that an earlier release created.
	ActionBaseline Action = "baseline"
	// ActionRequest is a request for a change; Asked says for which.
	ActionRequest Action = "request"
	// ActionPlan is a Terraform plan, whether it is applied or not.
	ActionPlan Action = "plan"
	// ActionApply, ActionImport and ActionDestroy are the applies of plans, by the kind of the operation.
	ActionApply   Action = "apply"
	ActionImport  Action = "import"
	ActionDestroy Action = "destroy"
	// ActionRollback is the destroy of what a failed create has left.
	ActionRollback Action = "rollback"
	// ActionGC is the destroy of an orphan.
	ActionGC Action = "gc"
	// ActionCreated is a container whose function app is there.
	ActionCreated Action = "created"
	// ActionFailed is a container that is kept as dead, because its removal has failed.
	ActionFailed Action = "failed"
	// ActionRemoved is a container that is forgotten.
	ActionRemoved Action = "removed"
	// ActionRunStarted and ActionRunEnded are about one run of a container.
	ActionRunStarted Action = "run-started"
	ActionRunEnded   Action = "run-ended"
	// ActionImage is a change of the image list.
	ActionImage Action = "image"
	// ActionPolicies is a reload of the policies. Its Outcome says whether they could be read.
	ActionPolicies Action = "policies"
	// ActionKept is a container whose removal policies have refused.
	ActionKept Action = "kept"
	// ActionServicePlan is the decision to create or remove a service plan, with the reason.
	ActionServicePlan Action = "service-plan"
	// ActionPruned is the removal of old records or archived workspaces; Count says how many.
	ActionPruned Action = "pruned"
)

// Record is one step, with who has asked for it. Seq, Time, Version and Daemon are set when the record is written.
type Record struct {
	Version int       `json:"version"`
	Seq     int64     `json:"seq"` // from 1, without gaps
	Time    time.Time `json:"time"`
	Daemon  Daemon    `json:"daemon"`
	Action  Action    `json:"action"`
	// Asked is what a request asks for, such as create, start or remove.
	Asked string `json:"asked,omitempty"`
	api.Origin
	Container   *Container   `json:"container,omitempty"`
	ServicePlan *ServicePlan `json:"service_plan,omitempty"`
	Operation   *Operation   `json:"operation,omitempty"`
	Run         *Run         `json:"run,omitempty"`
	Image       *Image       `json:"image,omitempty"`
	Outcome     *Outcome     `json:"outcome,omitempty"`
	// Policy are the verdicts of the policies that were asked, and Override is what was asked for against them.
	Policy   []api.PolicyVerdict `json:"policy,omitempty"`
	Override *api.PolicyOverride `json:"override,omitempty"`
	// Tools are those of a plan, or of the daemon that starts.
	Tools *Tools `json:"tools,omitempty"`
	// Configuration is that of a daemon that starts, as config print shows it: without secrets.
	Configuration string `json:"configuration,omitempty"`
	// CheckpointKey is the key with which the daemon that starts signs checkpoints.
	CheckpointKey string  `json:"checkpoint_key,omitempty"`
	Pruned        *Pruned `json:"pruned,omitempty"`
}

// Daemon is the daemon that has written a record.
type Daemon struct {
	// ID is new with each start. Home is the id of the state folder.
	ID      string `json:"id"`
	Home    string `json:"home,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Version string `json:"version,omitempty"`
	Host    string `json:"host,omitempty"`
	// Policies is the digest of the policies in force.
	Policies string `json:"policies,omitempty"`
}

// Container is the container that a record is about, as far as it is known.
type Container struct {
	ID    string `json:"id"`
	Name  string `json:"name,omitempty"`
	Image string `json:"image,omitempty"`
	// ImageID is the digest of the image, "" where the registry did not name one.
	ImageID string `json:"image_id,omitempty"`
	// Derived is the image that Azure runs in place of Image, nil if it runs Image or the other is not there yet.
	Derived *Derived `json:"derived,omitempty"`
	// Command and Labels are digests.
	Command     string `json:"command_sha256,omitempty"`
	Labels      string `json:"labels_sha256,omitempty"`
	FunctionApp string `json:"function_app,omitempty"`
	ResourceID  string `json:"resource_id,omitempty"`
}

// Derived holds the digests of a derived image, and of what it was derived from.
type Derived struct {
	Digest  string `json:"digest"`
	Source  string `json:"source_digest"`
	Base    string `json:"base_digest"`
	Handler string `json:"handler_digest"`
	Recipe  int    `json:"recipe"`
}

// ServicePlan is the service plan that a record is about.
type ServicePlan struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	SKU        string `json:"sku"`
	ResourceID string `json:"resource_id,omitempty"`
	// Reason says why it is created or removed, or why that failed.
	Reason string `json:"reason,omitempty"`
}

// Operation is a Terraform operation in one workspace.
type Operation struct {
	// Workspace is the container's id, plans/ID of a service plan, or foundation.
	Workspace string `json:"workspace"`
	Number    int    `json:"number"`
	Kind      string `json:"kind"`
	// CorrelationID names the operation in Azure's Activity Log. With SharedID it names a provider process that several
	// operations have used.
	CorrelationID string `json:"correlation_id"`
	SharedID      bool   `json:"correlation_id_shared,omitempty"`
	// Plan is the digest of the plan file, and Change of what it changes: it is the same for the same intent.
	Plan   string `json:"plan_sha256,omitempty"`
	Change string `json:"change_digest,omitempty"`
	// Files are the digests of the operation's files that stay, by name.
	Files map[string]string `json:"files,omitempty"`
	// Imports, Adds, Changes and Destroys count the plan's changes.
	Imports  int `json:"import"`
	Adds     int `json:"add"`
	Changes  int `json:"change"`
	Destroys int `json:"destroy"`
}

// Run is a run of a container.
type Run struct {
	ID       string `json:"id"`
	TraceID  string `json:"trace_id,omitempty"`
	ExitCode *int   `json:"exit_code,omitempty"`
}

// Image is a change of the image list.
type Image struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// States of an Outcome.
const (
	OutcomeBegun     = "begun"
	OutcomeSucceeded = "succeeded"
	OutcomeFailed    = "failed"
	// OutcomeRefused is that of a request that policies have refused.
	OutcomeRefused = "refused"
	// OutcomeInterrupted is that of an operation whose daemon was killed: what it has changed is not known here. The
	// operation after it finds that out.
	OutcomeInterrupted = "interrupted"
)

// Outcome is how a step ended.
type Outcome struct {
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	// Milliseconds since the beginning.
	Milliseconds int64 `json:"ms,omitempty"`
	// Begun is the number of the record of the beginning.
	Begun int64 `json:"begun,omitempty"`
}

// Tools are the programs that Terraform operations use.
type Tools struct {
	Terraform Tool `json:"terraform"`
	Provider  Tool `json:"azurerm"`
	// Modules is the digest of the embedded Terraform modules.
	Modules string `json:"modules_sha256"`
}

// Tool is a program.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// Pruned says what was removed because of its age.
type Pruned struct {
	// Records is the number of the first record that stays.
	Records int64 `json:"first_record,omitempty"`
	// Workspaces are the archived workspaces that were removed.
	Workspaces []string `json:"workspaces,omitempty"`
}

// Line is a record as it is kept.
type Line struct {
	Seq  int64
	Time time.Time
	Line []byte // see Decode
}

// Encode returns the line of a record, without its end.
func Encode(r Record) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encode audit record: %w", err)
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), nil
}

// Decode reads the line of a record.
func Decode(line []byte) (r Record, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("decode audit record: %w", err)
	}
	return r, nil
}

// Digest returns the SHA-256 digest of a value's JSON in hex, "" of an empty list or map.
func Digest[T ~[]string | ~map[string]string](value T) string {
	if len(value) == 0 {
		return ""
	}
	content, _ := json.Marshal(value) // cannot fail for these types
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
