package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// Lock is the lock of a state, as Terraform describes the one that is in its way.
type Lock struct {
	ID  string
	Who string // see Who
	// Created is by the clock of the machine that the run was on.
	Created time.Time
}

// Who is how Terraform calls the user and the machine of its runs in locks.
func Who() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname() // as Terraform does
	return name + "@" + host
}

// lockForm is Terraform's description of a lock, in one line or several.
var lockForm = regexp.MustCompile(`Lock Info:\s+ID:\s+(\S+)(?s:.*?)\sWho:\s+(\S+)(?s:.*?)\sCreated:\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) \+0000 UTC`)

// LockOf is the lock in a remote backend that a run failed for.
func LockOf(err error) (Lock, bool) {
	failed, ok := errors.AsType[*TerraformError](err)
	if !ok {
		return Lock{}, false
	}
	m := lockForm.FindStringSubmatch(failed.said())
	if m == nil {
		return Lock{}, false
	}
	created, err := time.Parse("2006-01-02 15:04:05.999999999", m[3])
	return Lock{ID: m[1], Who: m[2], Created: created}, err == nil
}

// FoundationID stands for the foundation where a container's id is asked for.
const FoundationID = "foundation"

// Unlock removes a lock, whoever holds it, from the state of a container, or of the foundation. The caller must know that the run which took it
// is dead. A workspace must be there.
func (m *Manager) Unlock(ctx context.Context, id string, lock Lock) error {
	dir := m.foundation()
	if id != FoundationID {
		dir = m.Path(id)
	}
	return m.attempt(ctx, dir, func(s *session) error {
		return m.command(ctx, dir, "force-unlock", s, func(tf *tfexec.Terraform) error {
			if err := tf.ForceUnlock(ctx, lock.ID); err != nil {
				return fmt.Errorf("remove the lock %s of %s: %w", lock.ID, lock.Who, err)
			}
			return nil
		})
	})
}
