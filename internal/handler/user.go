package handler

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that a command runs as.
type account struct {
	credential *syscall.Credential // nil: the handler's own user
	home       string
}

// maxID is the greatest id of a user or a group.
const maxID = 1<<31 - 1

// accounts reads the image's users and groups, for a handler that runs as user uid and group gid.
type accounts struct {
	passwd, group string
	uid, gid      int
}

// imageAccounts returns the accounts of the image that this process runs in.
func imageAccounts() accounts {
	return accounts{"/etc/passwd", "/etc/group", os.Geteuid(), os.Getegid()}
}

// accountOf finds a user in Docker's form, USER[:GROUP], and further groups. It follows Docker's rules: a number need
// not exist, a user without an entry has group 0, and the user's own further groups count unless GROUP is given
// (github.com/moby/sys/blob/main/user/user.go, GetExecUser).
func (a accounts) accountOf(user string, groups []string) (account, error) {
	isOwn := user == "" && len(groups) == 0
	if user == "" {
		user = strconv.Itoa(a.uid)
	}
	name, group, hasGroup := strings.Cut(user, ":")
	name, uid, gid, home, err := a.user(name)
	if isOwn {
		return account{home: home}, nil // a file that cannot be read matters only where a user is named
	}
	if err != nil {
		return account{}, err
	}
	var ids []uint32
	if hasGroup && group != "" {
		if gid, err = a.groupID(group); err != nil {
			return account{}, err
		}
	} else if ids, err = a.groupsOf(name); err != nil {
		return account{}, err
	}
	for _, group := range groups {
		id, err := a.groupID(group)
		if err != nil {
			return account{}, err
		}
		ids = append(ids, id)
	}
	if int(uid) == a.uid && int(gid) == a.gid && len(ids) == 0 {
		return account{home: home}, nil
	}
	if a.uid != 0 {
		return account{}, fmt.Errorf("azf-handler runs as user %d and not as root, so it cannot run the command as user %s",
			a.uid, user)
	}
	return account{&syscall.Credential{Uid: uid, Gid: gid, Groups: ids}, home}, nil
}

// user finds a user by name or number. known is the name of the user's entry, and name where there is none.
func (a accounts) user(name string) (known string, uid, gid uint32, home string, err error) {
	number, isNumber := parseID(name)
	known, home = name, "/"
	found := false
	err = entries(a.passwd, 7, func(fields []string) bool {
		id, ok := parseID(fields[2])
		if !ok || fields[0] != name && (!isNumber || id != number) {
			return true
		}
		known, uid, home, found = fields[0], id, fields[5], true
		gid, _ = parseID(fields[3])
		return false
	})
	switch {
	case err != nil || found:
	case isNumber:
		uid = number
	default:
		err = fmt.Errorf("unable to find user %s: no matching entries in %s", name, a.passwd)
	}
	return known, uid, gid, home, err
}

// groupID finds a group by name or number.
func (a accounts) groupID(name string) (gid uint32, err error) {
	number, isNumber := parseID(name)
	found := false
	err = entries(a.group, 4, func(fields []string) bool {
		if id, ok := parseID(fields[2]); ok && fields[0] == name {
			gid, found = id, true
		}
		return !found
	})
	switch {
	case err != nil || found:
	case isNumber:
		gid = number
	default:
		err = fmt.Errorf("unable to find group %s: no matching entries in %s", name, a.group)
	}
	return gid, err
}

// groupsOf returns the groups that list a user.
func (a accounts) groupsOf(name string) (ids []uint32, err error) {
	err = entries(a.group, 4, func(fields []string) bool {
		if id, ok := parseID(fields[2]); ok && slices.Contains(strings.Split(fields[3], ","), name) {
			ids = append(ids, id)
		}
		return true
	})
	return ids, err
}

func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id <= maxID
}

// entries calls each with the fields of each line of a file like /etc/passwd, until each returns false. A missing file
// has no lines.
func entries(path string, fields int, each func(fields []string) bool) (err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if parts := strings.Split(strings.TrimSpace(lines.Text()), ":"); len(parts) == fields && !each(parts) {
			break
		}
	}
	return lines.Err()
}
