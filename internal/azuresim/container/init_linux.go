package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// initName is the name under which the program is the first process of a container, until it executes the entrypoint.
const initName = "azuresim-container"

// probe stands for a command that does nothing.
const probe = ""

// Docker's codes for a container whose command cannot be executed, and cannot be found.
const (
	cannotExecute = 126
	notFound      = 127
)

func init() {
	reexec.Register(initName, func() int {
		runtime.LockOSThread() // capabilities and users belong to a thread, and so does what it executes
		err := enter()
		if err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			return notFound
		}
		return cannotExecute
	})
}

// inside is what the first process needs to know. It comes on descriptor 3.
type inside struct {
	Config
	OneUser bool
}

// enter makes the container and executes its command. It returns nil for the probe only.
func enter() error {
	settings := os.NewFile(3, "settings")
	var c inside
	if err := json.NewDecoder(settings).Decode(&c); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if err := settings.Close(); err != nil {
		return err
	}
	if err := c.mounts(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("container")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if c.Args[0] == probe {
		return nil
	}
	dir := filepath.Clean("/" + c.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("working folder: %w", err)
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("working folder: %w", err)
	}
	program, err := find(c.Args[0], c.Env)
	if err != nil {
		return err
	}
	if err := c.drop(); err != nil {
		return err
	}
	// What the simulator itself was started with must not reach the command.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors: %w", err)
	}
	if err := unix.Exec(program, c.Args, c.Env); err != nil {
		return fmt.Errorf("exec %s: %w", program, err)
	}
	return nil
}

// devices are those that a container has.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// mounts gives the container its root, with /proc, /dev and the machine's names of other machines.
func (c *inside) mounts() error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount(c.Root, c.Root, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	// Programs trust nothing in these folders, which the image may have filled as it likes.
	err := errors.Join(
		c.at("/proc", func(path string) error {
			return mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
		}),
		c.at("/dev", func(path string) error {
			return mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,size=65536k")
		}),
		c.at("/dev/shm", func(path string) error {
			return mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=1777,size=65536k")
		}),
	)
	for _, dir := range c.Empty {
		err = errors.Join(err, c.at(dir, func(path string) error { return mount("tmpfs", path, "tmpfs", 0, "mode=755") }))
	}
	for _, dir := range c.Shared {
		if _, missing := os.Stat(dir); errors.Is(missing, fs.ErrNotExist) {
			continue
		}
		err = errors.Join(err, c.at(dir, func(path string) error {
			return mount(dir, path, "", unix.MS_BIND|unix.MS_REC, "")
		}))
	}
	for _, device := range devices {
		err = errors.Join(err, c.file("/dev/"+device))
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		err = errors.Join(err, c.file(file))
	}
	if err != nil {
		return err
	}
	// pivot_root(2): the old root is stacked below the new one, and goes.
	if err := os.Chdir(c.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		err = errors.Join(err, os.Symlink(target, "/dev/"+name))
	}
	return err
}

// at creates a folder in the container if it is missing, and calls mount with its path outside.
func (c *inside) at(dir string, mount func(path string) error) error {
	path, err := securejoin.SecureJoin(c.Root, dir)
	if err == nil {
		err = os.MkdirAll(path, 0o755)
	}
	if err != nil {
		return err
	}
	return mount(path)
}

// file mounts a file of this machine, if there is one, at the same path.
func (c *inside) file(name string) error {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	path, err := securejoin.SecureJoin(c.Root, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	return mount(name, path, "", unix.MS_BIND, "")
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// find returns the program that a command names, as execvp(3) finds it.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // execve says what is wrong with it
	}
	search := ""
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range filepath.SplitList(search) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("exec %s: not found in PATH %q: %w", name, search, fs.ErrNotExist)
}

// dockerCapabilities are those that Docker gives a container (moby's daemon/pkg/oci/caps/defaults.go). App Service
// starts custom containers by docker run without options for capabilities.
var dockerCapabilities = map[uintptr]bool{
	unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FSETID: true, unix.CAP_FOWNER: true, unix.CAP_MKNOD: true,
	unix.CAP_NET_RAW: true, unix.CAP_SETGID: true, unix.CAP_SETUID: true, unix.CAP_SETFCAP: true, unix.CAP_SETPCAP: true,
	unix.CAP_NET_BIND_SERVICE: true, unix.CAP_SYS_CHROOT: true, unix.CAP_KILL: true, unix.CAP_AUDIT_WRITE: true,
}

// drop takes the capabilities away that a container has not, and takes the user. What root executes gets the rest.
func (c *inside) drop() error {
	as, err := c.account()
	if err != nil {
		return err
	}
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if dockerCapabilities[capability] {
			continue
		}
		// EINVAL: an older kernel does not know the capability.
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if c.OneUser && as.Uid == 0 && as.Gid == 0 {
		return nil // the kernel refuses setgroups there
	}
	err = errors.Join(syscall.Setgroups(as.Sgids), syscall.Setresgid(as.Gid, as.Gid, as.Gid))
	if err = errors.Join(err, syscall.Setresuid(as.Uid, as.Uid, as.Uid)); err != nil {
		return fmt.Errorf("take user %s: %w", c.User, err)
	}
	return nil
}

// account finds the user in the image's files.
func (c *inside) account() (*user.ExecUser, error) {
	as, err := user.GetExecUserPath(c.User, &user.ExecUser{Home: "/"}, "/etc/passwd", "/etc/group")
	if err != nil {
		return nil, fmt.Errorf("find user %q: %w", c.User, err)
	}
	return as, nil
}
