package api

import "time"

// OrphanState is what becomes of an Orphan.
type OrphanState string

// States of an orphan. Held, it waits for a confirmation. Reported, it waits for one or for another setting of gc.
// Waiting, it is destroyed after a grace time. Due, the next comparison destroys it.
const (
	OrphanHeld     OrphanState = "held"
	OrphanReported OrphanState = "reported"
	OrphanWaiting  OrphanState = "waiting"
	OrphanDue      OrphanState = "due"
)

// Orphan is a function app or a workspace without a container.
type Orphan struct {
	ID        string // of the container
	Kind      string // "function app" or "workspace"
	Name      string // the container's, "" if it is unknown
	Place     string // resource id or path
	FirstSeen time.Time
	LastSeen  time.Time
	State     OrphanState
	Reason    string // of the state
}

// ConfirmRequest is the body of a confirmation.
type ConfirmRequest struct{ IDs []string }
