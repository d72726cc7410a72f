package toolchain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is the delay between two attempts to take a lock that another process holds.
const lockPoll = 200 * time.Millisecond

// artefact is a file that the cache keeps. Each has a lock of its own, so that processes wait for each other only
// when they need the same file.
type artefact struct {
	name string // for people: "azurerm 5.2.0"
	key  string // in the names of its lock and scratch folder
	path string
	link string // a second name of the file in the cache, or ""
}

func (p *preparer) lockPath(a artefact) string { return filepath.Join(p.CacheDir, a.key+".lock") }

// scratch returns the folder in which an artefact is built before it is renamed into place.
func (p *preparer) scratch(a artefact) string { return filepath.Join(p.CacheDir, a.key+".scratch") }

// obtain ensures that the cache has the artefact. A ready one needs no lock. Otherwise get produces the file in the
// scratch folder that it receives, while this process holds the artefact's lock.
func (p *preparer) obtain(ctx context.Context, a artefact, get func(scratch string) (string, error)) error {
	if ok, err := p.ready(a); ok || err != nil {
		return err
	}
	return p.locked(ctx, a, func(scratch string) error {
		ok, err := p.verified(a.path)
		if err != nil {
			return err
		}
		if !ok {
			if err := p.setAside(a.path); err != nil {
				return err
			}
			binary, err := get(scratch)
			if err != nil {
				return err
			}
			if err := p.keep(scratch, binary, a.path); err != nil {
				return err
			}
		}
		if a.link == "" {
			return nil
		}
		if err := sameFile(a.path, a.link); err != nil {
			return fmt.Errorf("complete mirror: %w", err)
		}
		return nil
	})
}

// locked runs f while no other process changes the artefact. It removes what a killed process left half done.
func (p *preparer) locked(ctx context.Context, a artefact, f func(scratch string) error) (err error) {
	if err := os.MkdirAll(p.CacheDir, 0o755); err != nil {
		return fmt.Errorf("create cache folder: %w", err)
	}
	lock := flock.New(p.lockPath(a))
	if err := p.acquire(ctx, a, lock); err != nil {
		return fmt.Errorf("lock %s: %w", a.name, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	p.holder = &a
	p.publish("preparing " + a.name)
	defer func() {
		p.publish("")
		p.holder = nil
	}()
	scratch := p.scratch(a)
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("clean cache folder: %w", err)
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return fmt.Errorf("clean cache folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return f(scratch)
}

// acquire takes the lock. While another process holds it, the progress line names that process and its work.
func (p *preparer) acquire(ctx context.Context, a artefact, lock *flock.Flock) error {
	poll := time.NewTicker(min(lockPoll, p.progressTick))
	defer poll.Stop()
	started := time.Now()
	for {
		if ok, err := lock.TryLock(); ok || err != nil {
			return err
		}
		p.progress.show(fmt.Sprintf("waiting for %s: %s (waiting for %s)",
			a.name, p.holderOf(a), time.Since(started).Round(time.Second)))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
}

// publish records this process and its work in the lock file, for those that wait. An empty work erases the record.
func (p *preparer) publish(work string) {
	if p.holder == nil {
		return
	}
	line := ""
	if work != "" {
		line = fmt.Sprintf("process %d (%s) is %s\n", os.Getpid(), filepath.Base(os.Args[0]), work)
	}
	// Nothing depends on the record: waiting processes show a general line without it.
	_ = os.WriteFile(p.lockPath(*p.holder), []byte(line), 0o600)
}

// holderOf returns the record that the process with the artefact's lock published.
func (p *preparer) holderOf(a artefact) string {
	content, err := os.ReadFile(p.lockPath(a))
	line := strings.TrimSpace(string(content))
	if err != nil || line == "" {
		return "another process is preparing it"
	}
	return line
}

// working shows the work on the progress line and publishes it to processes that wait for the same artefact.
func (p *preparer) working(line string) {
	p.progress.show(line)
	p.publish(line)
}
