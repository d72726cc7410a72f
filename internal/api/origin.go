package api

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Kinds of requesters: what is verified about them.
const (
	// RequesterUnix is a process of this machine, known from the kernel.
	RequesterUnix = "unix"
	// RequesterMTLS is the holder of a client certificate.
	RequesterMTLS = "mtls"
	// RequesterTCP is an address. Nobody has verified who it is.
	RequesterTCP = "tcp"
	// RequesterDaemon is the daemon itself.
	RequesterDaemon = "daemon"
)

// Requester is who has asked for something, as far as it is verified. Labels are claims, and no part of it. Its JSON is
// flat; which fields are set depends on Kind.
type Requester struct {
	Kind string `json:"kind"`

	// UID, GID and PID are those of a unix socket's client when it connected (SO_PEERCRED). User and Groups are the names
	// of its user and groups where they have some, numbers otherwise.
	UID    *uint32  `json:"uid,omitempty"`
	GID    *uint32  `json:"gid,omitempty"`
	PID    int32    `json:"pid,omitempty"`
	User   string   `json:"user,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Executable and Cgroup are set where the daemon may read them, and only while that process certainly lived. A daemon
	// that is not root cannot read the executable of another user's process.
	Executable string `json:"exe,omitempty"`
	Cgroup     string `json:"cgroup,omitempty"`

	// Subject, CommonName, Names (subject alternative names), Serial, Issuer and Fingerprint (SHA-256, in hex) are those
	// of a client certificate.
	Subject     string   `json:"subject,omitempty"`
	CommonName  string   `json:"cn,omitempty"`
	Names       []string `json:"names,omitempty"`
	Serial      string   `json:"serial,omitempty"`
	Issuer      string   `json:"issuer,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"`

	// Address is the client's address and port, for RequesterMTLS and RequesterTCP.
	Address string `json:"address,omitempty"`

	// Cause says what the daemon itself is doing, such as reconcile.
	Cause string `json:"cause,omitempty"`
}

// String returns the requester in a few words, for logs.
func (r Requester) String() string {
	switch r.Kind {
	case RequesterUnix:
		uid := uint32(0)
		if r.UID != nil {
			uid = *r.UID
		}
		return strings.TrimSpace(fmt.Sprintf("%s uid=%d pid=%d %s", r.User, uid, r.PID, r.Executable))
	case RequesterMTLS:
		return r.Subject + " serial=" + r.Serial
	case RequesterTCP:
		return r.Address + " (unverified)"
	case RequesterDaemon:
		return "daemon: " + r.Cause
	}
	return "unknown"
}

// Same reports whether two requesters are the same user of this machine or the same certificate. Addresses prove
// nothing, so all of them are the same.
func (r Requester) Same(other Requester) bool {
	sameUser := r.UID == other.UID || r.UID != nil && other.UID != nil && *r.UID == *other.UID
	return r.Kind == other.Kind && sameUser && r.Fingerprint == other.Fingerprint
}

// RequestDetails are the request in which a requester has asked.
type RequestDetails struct {
	// ID is in the header X-Request-Id of the answer, and in the log.
	ID string `json:"id"`
	// API is the API and its version, such as docker/1.48 or internal/v1.
	API       string `json:"api"`
	UserAgent string `json:"user_agent,omitempty"`
}

// Origin says where a change comes from: who has asked for it, and in which request. A change that the daemon makes on
// its own has no request.
type Origin struct {
	Requester Requester       `json:"requester"`
	Request   *RequestDetails `json:"request,omitempty"`
}

type originKey struct{}

// WithOrigin returns a context whose changes come from o.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns where the changes of a context come from. ok is false when that is not known.
func OriginOf(ctx context.Context) (o Origin, ok bool) {
	o, ok = ctx.Value(originKey{}).(Origin)
	return o, ok
}

// ByDaemon returns a context whose changes are the daemon's own.
func ByDaemon(ctx context.Context, cause string) context.Context {
	return WithOrigin(ctx, Origin{Requester: Requester{Kind: RequesterDaemon, Cause: cause}})
}

// AuditOptions select records of the audit trail. The zero value selects all.
type AuditOptions struct {
	// Since is the first moment and Until the first one that is not selected; zero is no bound.
	Since, Until time.Time
	// After is the number of the last record that is not selected.
	After int64
	// Container is a container's whole id, or what names one that is there. Action is that of the records.
	Container, Action string
	// Limit bounds the number of records; 0 means no limit.
	Limit int
}
