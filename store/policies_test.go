package store_test

import (
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// TestPolicyEvents: an event says whether something was refused, and what it is about.
func TestPolicyEvents(t *testing.T) {
	denies := func(enforcement, result string) []api.PolicyVerdict {
		return []api.PolicyVerdict{{Set: "house", Enforcement: enforcement, Result: result, Deny: []string{"no"}}}
	}
	container := &audit.Container{ID: id("a")}
	operation := &audit.Operation{Workspace: id("a"), Number: 1, Kind: string(audit.ActionApply)}
	for name, row := range map[string]struct {
		record audit.Record
		want   string
		kind   api.EventType
	}{
		"a refusal": {
			record: audit.Record{Container: container, Operation: operation, Policy: denies("hard", api.PolicyDeny)},
			want:   "a policy-deny", kind: api.ContainerEvent,
		},
		"advice": {
			record: audit.Record{Container: container, Operation: operation, Policy: denies("advisory", api.PolicyDeny)},
			want:   "a policy-warn", kind: api.ContainerEvent,
		},
		"advice that cannot be given": {
			record: audit.Record{Container: container, Operation: operation, Policy: denies("advisory", api.PolicyError)},
			want:   "a policy-warn", kind: api.ContainerEvent,
		},
		"a policy that cannot be asked": {
			record: audit.Record{Container: container, Operation: operation, Policy: denies("soft", api.PolicyError)},
			want:   "a policy-deny", kind: api.ContainerEvent,
		},
		"consent": {record: audit.Record{Container: container, Operation: operation, Policy: []api.PolicyVerdict{{
			Set: "house", Enforcement: "hard", Result: api.PolicyAllow,
		}}}},
		"an orphan": {
			record: audit.Record{Container: &audit.Container{ID: id("b")}, Operation: &audit.Operation{
				Workspace: id("b"), Number: 1, Kind: string(audit.ActionDestroy),
			}, Policy: denies("hard", api.PolicyDeny)},
			want: "b policy-deny", kind: api.ContainerEvent,
		},
		"what containers share": {
			record: audit.Record{Operation: &audit.Operation{Workspace: "foundation", Number: 1, Kind: "apply"},
				Policy: denies("hard", api.PolicyDeny)},
			want: "f policy-deny", kind: api.DaemonEvent,
		},
		"a pull": {
			record: audit.Record{Image: &audit.Image{Name: "r.example.com/app:1"}, Policy: denies("hard", api.PolicyDeny)},
			want:   "r policy-deny", kind: api.ImageEvent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, in database) {
				db, _ := in.open(t)
				succeed(t, db.CreateContainer(t.Context(), store.Container{ID: id("a"), Name: "web"}))
				row.record.Action = audit.ActionPlan
				seq, err := db.RecordVerdicts(t.Context(), row.record, nil)
				succeed(t, err)
				head, err := db.AuditHead(t.Context())
				succeed(t, err)
				if seq != head.Size {
					t.Errorf("the record has the number %d, want %d", seq, head.Size)
				}
				if got := story(t, db, 0, time.Time{}); got != row.want {
					t.Errorf("got %q, want %q", got, row.want)
				}
				list, err := db.EventsAfter(t.Context(), 0, time.Time{}, 100)
				succeed(t, err)
				if len(list) == 1 && list[0].Type != row.kind {
					t.Errorf("it is an event of a %s", list[0].Type)
				}
			})
		})
	}
}
