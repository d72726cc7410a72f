package handler

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// webHost is the Functions host's program below the folder of a wrapped image.
const webHost = protocol.HostFolder + "/" + protocol.HostProgram

// forwarded are the signals that Host passes on to the Functions host.
var forwarded = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP}

// Host is the entrypoint of a wrapped image. It starts the Functions host in an environment of its own, forwards
// signals to it, reaps all children until the Functions host ends, and returns its exit code: 128+n for a signal n. An
// error means that the Functions host was not started. The process must have no other children.
func Host(environ []string) (code int, err error) {
	dir, err := folder()
	if err != nil {
		return 0, err
	}
	if err := checkImage(dir, lookup(environ, protocol.ImageDigestEnv)); err != nil {
		return 0, err
	}
	user, err := imageAccounts().accountOf("", nil)
	if err != nil {
		return 0, err
	}
	env, err := hostEnv(dir, environ, user.home)
	if err != nil {
		return 0, err
	}
	// The environment of this process, as that of the Functions host, holds the app's secrets.
	if err := errors.Join(hideProcess(), adoptOrphans()); err != nil {
		return 0, fmt.Errorf("prepare the process: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	path := filepath.Join(dir, webHost)
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		signal.Stop(signals)
		return 0, startError(path, err)
	}
	ended := make(chan struct{})
	var forwarder sync.WaitGroup
	forwarder.Go(func() {
		for {
			select {
			case received := <-signals:
				if number, ok := received.(syscall.Signal); ok {
					_ = syscall.Kill(pid, number) // fails only when the host is about to be reaped
				}
			case <-ended:
				return
			}
		}
	})
	err = reapUntil(pid)
	signal.Stop(signals)
	close(ended)
	forwarder.Wait()
	if err != nil {
		return 0, err
	}
	// Nothing else reaps this child, and its number is not reused before.
	var status syscall.WaitStatus
	if err := wait(pid, &status); err != nil {
		return 0, fmt.Errorf("wait for the Functions host: %w", err)
	}
	if status.Signaled() {
		return protocol.ExitSignal + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// checkImage refuses a folder that is not that of the wrapped image that the container is of. The digest may be "".
func checkImage(dir, digest string) error {
	img, err := readImage(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this is not a wrapped image: %w", err)
	}
	if err != nil {
		return err
	}
	if digest != "" && digest != img.Digest {
		return fmt.Errorf("%s is of the image %s (%s), and the container is of %s: the image has a %s of its own, or the "+
			"wrapped image is another one's", filepath.Join(dir, protocol.ImageFile), img.Digest, img.Reference,
			digest, protocol.InstallFolder)
	}
	return nil
}

// startError explains why a Functions host could not be started.
func startError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		hint = ": the program is for another kind of processor, or damaged"
	case errors.Is(err, syscall.ENOENT):
		if _, missing := os.Stat(path); missing == nil {
			hint = ": its interpreter (ld.so) is missing"
		}
	case errors.Is(err, syscall.E2BIG):
		hint = ": the app settings are too large"
	}
	return fmt.Errorf("start the Functions host: %w%s", &fs.PathError{Op: "exec", Path: path, Err: err}, hint)
}
