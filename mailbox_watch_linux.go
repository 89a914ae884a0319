//go:build linux

package main

import (
	"slices"

	"golang.org/x/sys/unix"
)

// mailboxWatchWorks: inotify needs one descriptor for all folders.
const mailboxWatchWorks = true

// mailboxSharedKinds are the file systems on which other machines may write too. Of
// what they write inotify tells nothing.
var mailboxSharedKinds = []uint32{unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
	unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.V9FS_MAGIC, unix.OCFS2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	0x01161970, // GFS2
	0x0bd00bd0} // Lustre

// mailboxIsShared tells whether a folder lies on such a file system.
func mailboxIsShared(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && slices.Contains(mailboxSharedKinds, uint32(st.Type))
}
