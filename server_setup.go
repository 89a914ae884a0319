package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// What letterbox setup does on the disk, before there is a server.

// serverIsAccount tells whether the system has an account that is not root's.
func serverIsAccount(name string) bool {
	account, err := user.Lookup(name)
	return err == nil && account.Uid != "0"
}

// serverIsTheirs tells whether a server that becomes this account would find its mail: there is none, or it is that account's.
func serverIsTheirs(path, name string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	account, err := user.Lookup(name)
	owner, ok := info.Sys().(*syscall.Stat_t)
	return err == nil && ok && account.Uid == strconv.FormatUint(uint64(owner.Uid), 10)
}

// serverMakeOpen makes a directory, and those above it that are missing, so that all may pass, whatever the umask is.
func serverMakeOpen(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
	}
	err := fileMakeAll(dir, 0o755)
	for _, d := range missing {
		if err == nil {
			err = os.Chmod(d, 0o755)
		}
	}
	if err != nil {
		return serverPathError("making", dir, err)
	}
	return nil
}

// serverWriteConfig writes a configuration. It has no secrets, and root's must be readable for the
// user that the server becomes. A file that is there keeps its mode and owner.
func serverWriteConfig(path, text string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays
	}
	if err := serverMakeOpen(filepath.Dir(path)); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	old, err := os.Stat(path)
	if err == nil {
		mode = old.Mode().Perm()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return serverPathError("writing", path, err)
	}
	if err := serverMayWriteConfig(path); err != nil {
		return err
	}
	r, err := fileReplaceBegin(path, mode)
	if err != nil {
		return serverPathError("writing", path, err)
	}
	if err = r.Chmod(mode); err == nil && old != nil && os.Geteuid() == 0 { // whatever the umask is
		if owner, ok := old.Sys().(*syscall.Stat_t); ok {
			err = r.Chown(int(owner.Uid), int(owner.Gid))
		}
	}
	if err == nil {
		_, err = r.Write([]byte(text))
	}
	if err != nil {
		r.abort()
		return serverPathError("writing", path, err)
	}
	if err := r.commit(); err != nil {
		return serverPathError("writing", path, err)
	}
	return nil
}

// serverMayWriteConfig tells whether a configuration can be written. Its directory may be missing.
func serverMayWriteConfig(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	const write, search = 2, 1
	if err := syscall.Access(dir, write|search); err != nil {
		return serverHint{fmt.Errorf("writing %s: %w", path, err), "do it as root: sudo letterbox setup; or name a file that you may write: -config FILE"}
	}
	return nil
}

// serverMakeStorage makes the directories of the mail, of the users file, and of what programs leave. What root makes belongs to
// the user that the server becomes; what is there already stays whose it is.
func serverMakeStorage(c *config) error {
	uid, gid := -1, -1
	if c.user != "" && os.Geteuid() == 0 {
		account, err := user.Lookup(c.user)
		if err != nil {
			return serverHint{err, "make it: useradd --system --home-dir /var/lib/letterbox --shell /usr/sbin/nologin " + c.user}
		}
		if uid, err = strconv.Atoi(account.Uid); err == nil {
			gid, err = strconv.Atoi(account.Gid)
		}
		if err != nil {
			return fmt.Errorf("the account %s: %w", c.user, err)
		}
	}
	for _, dir := range []string{filepath.Dir(c.storage.users), c.storage.path} {
		var missing []string
		for d := dir; ; d = filepath.Dir(d) {
			if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
				break
			}
			missing = append(missing, d)
		}
		if err := fileMakeAll(dir, 0o700); err != nil {
			return serverPathError("making", dir, err)
		}
		for _, d := range missing {
			if uid < 0 {
				break
			}
			if err := os.Chown(d, uid, gid); err != nil {
				return serverPathError("giving "+c.user, d, err)
			}
		}
	}
	if spool := c.storage.spool; spool != "" { // that beside the mail is made by the server
		return serverMakeSpool(spool, uid, gid)
	}
	return nil
}

// serverMakeSpool makes the directory in which all users may leave mail, and which none may list.
func serverMakeSpool(path string, uid, gid int) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := serverMakeOpen(filepath.Dir(path)); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o700)
	if err == nil && uid >= 0 {
		err = os.Chown(path, uid, gid)
	}
	if err == nil {
		err = os.Chmod(path, spoolMode) // whatever the umask is
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return serverPathError("making", path, err)
	}
	return nil
}
