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

// Lock is the lock of a state in a remote backend, as Terraform describes it.
type Lock struct {
	ID  string
	Who string // see Who
	// Created is by the clock of the machine that Terraform ran on.
	Created time.Time
}

// DeadHolder reports whether the Terraform operation that took a lock is known to be dead. Its error, joined with
// Terraform's, ends the blocked operation.
type DeadHolder func(ctx context.Context, lock Lock) (bool, error)

// Who returns the user and the machine of our Terraform operations, as locks name them.
func Who() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname() // as Terraform does
	return name + "@" + host
}

// lockForm is Terraform's description of a lock, in one line or several.
var lockForm = regexp.MustCompile(`Lock Info:\s+ID:\s+(\S+)(?s:.*?)\sWho:\s+(\S+)(?s:.*?)` +
	`\sCreated:\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) \+0000 UTC`)

// LockOf returns the lock in a remote backend that an operation failed for.
func LockOf(err error) (Lock, bool) {
	failed, ok := errors.AsType[*TerraformError](err)
	if !ok {
		return Lock{}, false
	}
	m := lockForm.FindStringSubmatch(failed.output())
	if m == nil {
		return Lock{}, false
	}
	created, err := time.Parse("2006-01-02 15:04:05.999999999", m[3])
	return Lock{ID: m[1], Who: m[2], Created: created}, err == nil
}

// unlock removes a lock, whoever holds it.
func (m *Manager) unlock(ctx context.Context, s *session, lock Lock) error {
	err := m.command(ctx, s, "force-unlock", func(tf *tfexec.Terraform) error {
		if err := tf.ForceUnlock(ctx, lock.ID); err != nil {
			return fmt.Errorf("remove the lock %s of %s: %w", lock.ID, lock.Who, err)
		}
		return nil
	})
	if err == nil {
		m.cfg.Log.Warn().Str("workspace", s.dir).Str("lock_id", lock.ID).Str("who", lock.Who).Time("created", lock.Created).
			Msg("removed the lock of a dead Terraform operation")
	}
	return err
}
