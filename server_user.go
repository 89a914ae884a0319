package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Who starts Letterbox as root, since ports below 1024 need that, gives it a user to become.

// serverBecome makes the process that user's, for good. It does nothing for no name, or if the process
// is not root's.
func serverBecome(name string) error {
	if name == "" || os.Geteuid() != 0 {
		return nil
	}
	act := "becoming the user " + name
	account, err := user.Lookup(name)
	if err != nil {
		return serverHint{fmt.Errorf("%s: %w", act, err), "make it: useradd --system --home-dir /var/lib/letterbox --shell /usr/sbin/nologin " + name}
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if uid == 0 {
		return serverHint{fmt.Errorf("%s: that is root", act), "set user to one that may do less, or leave it out"}
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	groups, err := serverGroups(account)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(groups) },
		func() error { return syscall.Setgid(gid) },
		func() error { return syscall.Setuid(uid) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("%s: root's rights are still there", act)
	}
	return nil
}

// serverGroups gives the groups of an account, which may share printers' or mail servers' sockets.
func serverGroups(account *user.User) (groups []int, err error) {
	ids, err := account.GroupIds()
	for _, id := range ids {
		gid, bad := strconv.Atoi(id)
		groups, err = append(groups, gid), errors.Join(err, bad)
	}
	return groups, err
}
