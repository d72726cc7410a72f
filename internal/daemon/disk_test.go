package daemon_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// diskSize is the size of a state folder's file system, in bytes: room for a few workspaces.
const diskSize = 64 << 20

// ownMounts gives a process mounts that only it and its children have. It is root for itself only.
func ownMounts(attr *syscall.SysProcAttr) {
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// mountDisk puts the state folder in dir on a file system of its own.
func mountDisk(dir string, size int) error {
	state := filepath.Join(dir, "daemon")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		return fmt.Errorf("mount a file system for the state folder (this needs user namespaces): %w", err)
	}
	return nil
}

// fill leaves no free byte on the state folder's file system.
func (p *playground) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.stateDir(), "full"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	for block := make([]byte, 1<<20); len(block) > 0 && err == nil; {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block, err = block[:len(block)/2], nil
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}

// free undoes fill.
func (p *playground) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(p.stateDir(), "full")); err != nil {
		t.Error(err)
	}
}

// queueStuck matches the job queue's log line when the queue can neither record the end of a job nor begin a job.
var queueStuck = regexp.MustCompile(`Completer error|"queue":"terraform".*Error fetching jobs`)

// TestLongDiskIsFull fills the disk of state folder and database before a request comes, and when Azure has done
// something that neither state nor row has yet.
func TestLongDiskIsFull(t *testing.T) {
	p := newAzure(t)
	p.disk = diskSize
	p.launch(t)
	p.create(t, "web", api.Config{})

	p.fill(t)
	for _, path := range []string{"/containers?name=job", "/containers/web/start", "/containers/web/rename?name=other"} {
		err := p.Call(t.Context(), http.MethodPost, path, p.createRequest(), nil)
		if !answered(err, http.StatusServiceUnavailable) ||
			!strings.Contains(err.Error(), "the disk is full: free space") {
			t.Errorf("POST %s: %v, want a refusal", path, err)
		}
	}
	p.free(t)

	for _, row := range []struct{ write, method, path string }{
		{http.MethodPut, http.MethodPost, "/containers?name=job"},
		{http.MethodDelete, http.MethodDelete, "/containers/job"},
	} {
		before := len(p.log(t))
		p.atWrite(true, row.write, sitePath, func() { p.fill(t) })
		answered := p.request(t, row.method, row.path, p.createRequest())
		// A state that becomes shorter leaves room for some of what the database must record, or for all of it.
		azuretest.Eventually(t, "an answer, or a job that the queue cannot go on with", func() bool {
			return len(answered) > 0 || queueStuck.MatchString(p.log(t)[before:])
		})
		p.free(t)
		if err := <-answered; err != nil {
			t.Errorf("%s, with the disk full until Azure had done it: %v\n%s", row.method, err, p.log(t)[before:])
		}
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.lives(t, "web")
}
