// Package rootfs unpacks a container image into a folder, as a container engine does: layer by layer, with whiteouts,
// hard links, modes, owners, extended attributes and devices. It must not know what runs there.
//
// Owners, devices and attributes of the kernel need root. Without it they are left out, as far as the kernel refuses
// them, and everything belongs to the user of the process.
package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// The names of whiteouts (github.com/opencontainers/image-spec, layer.md).
const (
	whiteout       = ".wh."
	opaque         = ".wh..wh..opq"
	whiteoutsOwn   = ".wh..wh." // names that aufs keeps for itself
	xattrPAX       = "SCHILY.xattr."
	parentsMode    = 0o755
	modeBits       = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	permissionBits = 0o7777
)

// Unpack writes the files of an image below root, which is created. Links of the image lead nowhere else than below
// root, wherever they point.
func Unpack(img v1.Image, root string) error {
	if err := os.MkdirAll(root, parentsMode); err != nil {
		return fmt.Errorf("unpack image: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("unpack image: %w", err)
	}
	for i, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			return fmt.Errorf("unpack image: layer %d: %w", i+1, err)
		}
		err = (&unpacker{root: root, own: map[string]bool{}}).layer(content)
		if err = errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("unpack image: layer %d: %w", i+1, err)
		}
	}
	return nil
}

// unpacker unpacks one layer.
type unpacker struct {
	root string
	own  map[string]bool // the paths that this layer has written
	dirs []dirTime
}

// dirTime is the time of a folder, which is set when its content is there.
type dirTime struct {
	path string
	time time.Time
}

func (u *unpacker) layer(content io.Reader) error {
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	for _, d := range u.dirs {
		if err := setTime(d.path, d.time); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// entry writes one entry of the layer, or removes what it says.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean("/" + h.Name)
	if name == "/" {
		return u.finish(h, u.root)
	}
	// Folders on the way may be links to others.
	parent, err := securejoin.SecureJoin(u.root, path.Dir(name))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(parent, parentsMode); err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case base == opaque:
		return u.clear(parent)
	case strings.HasPrefix(base, whiteoutsOwn):
		return nil
	case strings.HasPrefix(base, whiteout):
		return os.RemoveAll(filepath.Join(parent, strings.TrimPrefix(base, whiteout)))
	}
	target := filepath.Join(parent, base)
	there, err := os.Lstat(target)
	if err == nil && (!there.IsDir() || h.Typeflag != tar.TypeDir) {
		err = os.RemoveAll(target)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u.own[target] = true
	if err := u.create(h, target, content); err != nil {
		return err
	}
	return u.finish(h, target)
}

// clear removes what lower layers have put into a folder.
func (u *unpacker) clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		inside := filepath.Join(dir, entry.Name())
		switch {
		case !u.own[inside] && !u.ownBelow(inside):
			err = os.RemoveAll(inside)
		case entry.IsDir():
			err = u.clear(inside)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownBelow reports whether this layer has written something below a folder.
func (u *unpacker) ownBelow(dir string) bool {
	for written := range u.own {
		if strings.HasPrefix(written, dir+"/") {
			return true
		}
	}
	return false
}

// special has the modes of what is neither a file, a folder nor a link.
var special = map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}

// create creates what an entry describes, without its owner and attributes.
func (u *unpacker) create(h *tar.Header, target string, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(target, parentsMode); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		return writeFile(target, content)
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, target)
	case tar.TypeLink:
		from, err := securejoin.SecureJoin(u.root, path.Dir(path.Clean("/"+h.Linkname)))
		if err != nil {
			return err
		}
		return os.Link(filepath.Join(from, path.Base(h.Linkname)), target)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := special[h.Typeflag]
		device := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		err := unix.Mknod(target, kind|uint32(h.Mode)&permissionBits, int(device))
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			return nil
		}
		return err
	}
	return fmt.Errorf("entries of type %q are not known", h.Typeflag)
}

// writeFile writes a file that may be executed soon.
func writeFile(target string, content io.Reader) error {
	// A process that is forked meanwhile would hold the file open for writing until it executes its own program, and a
	// start of this one would fail with "text file busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// finish gives what an entry has created its owner, mode, attributes and time.
func (u *unpacker) finish(h *tar.Header, target string) error {
	if h.Typeflag == tar.TypeLink {
		return nil // they are those of the file that it links to
	}
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		return nil // a device, without root
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(target, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		mode := h.FileInfo().Mode() & modeBits
		if h.Typeflag == tar.TypeDir && os.Geteuid() != 0 {
			mode |= 0o700 // what comes must get in
		}
		// After the owner, since a change of it takes setuid away.
		if err := os.Chmod(target, mode); err != nil {
			return err
		}
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPAX)
		if !ok {
			continue
		}
		err := unix.Lsetxattr(target, name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && (os.Geteuid() == 0 || !errors.Is(err, unix.EPERM)) {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, dirTime{target, h.ModTime})
		return nil
	}
	return setTime(target, h.ModTime)
}

func setTime(target string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	spec, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, target, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW)
}
