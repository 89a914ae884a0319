package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cmdCheck looks at the configuration, the ports, the permissions and the Maildirs,
// and tells each finding with a hint. It changes nothing.
func cmdCheck(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	check := &cmdChecking{out: line.stdout}
	c, err := line.load()
	if err != nil {
		return err // all findings of the configuration
	}
	check.ok("configuration: %s, hostname %s", c.name, c.hostname)
	check.ports(c)
	for _, address := range c.listen.lmtp {
		host, _, err := net.SplitHostPort(address)
		isUnix := strings.HasPrefix(address, "unix:") // its file has an owner and a mode
		if ip, ipErr := netip.ParseAddr(host); err == nil && !isUnix && host != "localhost" && (ipErr != nil || !ip.IsLoopback()) {
			check.ok("lmtp: whoever reaches %s can send to all users, without a login", address)
		}
	}
	check.box(c)
	if check.err != nil {
		return check.err
	}
	if check.findings > 0 {
		fmt.Fprintf(line.stdout, "findings: %d\n", check.findings)
		return errCmdFindings
	}
	check.ok("no findings")
	return check.err
}

// cmdFindings gives what check would find, but for the ports, which a running server has.
func cmdFindings(c *config) []serverFinding {
	check := &cmdChecking{out: io.Discard}
	check.box(c)
	return check.all
}

// box looks at all but the ports.
func (k *cmdChecking) box(c *config) {
	k.report(serverCheckClock(c, time.Now()))
	if said, err := serverCheckCert(c, time.Now()); err != nil {
		k.report(err)
	} else {
		k.ok("certificate: %s", said)
	}
	for _, name := range c.tls.acme {
		if said, err := serverCheckACME(c, name, time.Now()); err != nil {
			k.report(err)
		} else {
			k.ok("certificate: %s", said)
		}
	}
	if c.tls.clientCA != "" {
		k.clientCA(c)
	}
	if c.oauth.keys != "" {
		k.tokenKeys(c.oauth.keys)
	}
	k.directory(c.storage.path, c.user)
	k.spool(c)
	users := k.users(c.storage.users)
	for _, name := range c.web.admins {
		if len(users) > 0 && !slices.Contains(users, name) {
			k.found("letterbox user add "+name+", or take the name out of [web] admins", "%s is to administrate the box, and is no user of it", name)
		}
	}
	k.secret(c.tls.key)
	k.secret(filepath.Join(c.storage.path, serverDirectory, "ca.key"))
	k.secret(filepath.Join(c.storage.path, serverDirectory, "server.key"))
	k.secret(filepath.Join(c.storage.path, serverDirectory, "secret"))
	k.strangers(c.storage.path, users)
	for _, user := range users {
		k.maildirs(user, filepath.Join(c.storage.path, user))
		k.quota(c, user)
		if len(users) > 1 {
			k.shadow(c, user)
		}
	}
	k.retention(c, users)
}

type cmdChecking struct {
	out      io.Writer
	findings int
	all      []serverFinding
	err      error // of writing
}

func (k *cmdChecking) ok(format string, args ...any) {
	if _, err := fmt.Fprintf(k.out, format+"\n", args...); k.err == nil {
		k.err = err
	}
}

// found tells a finding. hint may be "".
func (k *cmdChecking) found(hint, format string, args ...any) {
	k.findings++
	what := fmt.Sprintf(format, args...)
	if before, own, ok := strings.Cut(what, "\nhint: "); ok { // of an error that knows what to do
		k.all = append(k.all, serverFinding{before, own})
	} else {
		k.all = append(k.all, serverFinding{what, hint})
	}
	k.ok("FINDING %s", what)
	if hint != "" {
		k.ok("hint: %s", hint)
	}
}

// report tells an error, which may carry its hint.
func (k *cmdChecking) report(err error) {
	if err != nil {
		k.found("", "%v", err)
	}
}

func (k *cmdChecking) ports(c *config) {
	program := filepath.Base(os.Args[0])
	running, untried, failed := serverCheckPorts(c, program[:min(len(program), 15)]) // as long as Linux knows a program's name
	for _, err := range failed {
		k.report(err)
	}
	if len(untried) > 0 {
		k.ok("ports: not tried, since ports below 1024 need a privilege, as the systemd unit gives it: %s", strings.Join(untried, " "))
	}
	if running != "" {
		k.ok("ports: the server is running: %s", running)
	} else if len(failed) == 0 && len(untried) == 0 {
		k.ok("ports: all are free")
	}
}

// directory checks that the mail directory, or the one it will be made in, can be
// written. account is the user that root's process becomes, if it does.
func (k *cmdChecking) directory(path, account string) {
	info, err := os.Stat(path)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		k.ok("mail: %s will be made", path)
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		k.found("change its owner or mode, or set [storage] path", "the mail directory: %v", err)
	case !info.IsDir():
		k.found("set [storage] path to another place", "%s is no directory", path)
	case !cmdMayWrite(path):
		k.found("change its owner, or run letterbox as that user", "user id %d may not write in %s, which belongs to %s", os.Getuid(), path, cmdOwner(info))
	case os.Getuid() != 0 || cmdOwner(info) == "root":
	case cmdOwner(info) == account && info.Mode().Perm()&0o700 == 0o700: // root's process becomes this user
		k.ok("mail: %s belongs to %s, which the server becomes", path, account)
	default:
		k.ok("mail: %s belongs to %s; what that user may not do is found only by: sudo -u %[2]s letterbox check", path, cmdOwner(info))
	}
}

// spool tells what programs have left for the server, and what of it will never be taken.
func (k *cmdChecking) spool(c *config) {
	path, now := c.spool(), time.Now()
	if closed := cmdClosed(path); closed != "" {
		k.ok("spool: other users of this box, such as cron's, cannot leave mail in %s, since %s is closed to them; another place is set by: letterbox setup -spool DIR", path, closed)
	}
	waiting, oldest, findings, err := spoolLook(path, int64(c.smtp.maxMessageSize), now)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return // made when the server starts
	case errors.Is(err, fs.ErrPermission):
		k.ok("spool: %s can be looked at only by its owner", path)
		return
	case err != nil:
		k.found("set [storage] spool to a directory of the server's", "the spool: %v", err)
		return
	}
	for _, f := range findings {
		k.found("remove it, if nobody needs it", "in the spool is %q: %s", f.path, f.what)
	}
	age := now.Sub(oldest).Truncate(time.Minute)
	switch {
	case waiting > 0 && age >= cmdSpoolLate:
		k.found("if the server is running, its log says why: \"stays in the spool\"", "%d messages of programs wait in %s, the first for %v", waiting, path, age)
	case waiting > 0:
		k.ok("spool: %d messages of programs wait in %s", waiting, path)
	}
}

// cmdClosed is a directory above a path that not everybody may pass, "" if there is none.
func cmdClosed(path string) string {
	path, err := filepath.Abs(path)
	for err == nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o001 == 0 {
			return path
		}
	}
	return ""
}

// cmdSpoolLate is how long mail may wait for the server before somebody should look.
const cmdSpoolLate = 10 * time.Minute

// users checks the users file and gives the users.
func (k *cmdChecking) users(path string) []string {
	findings, err := authFindings(path)
	if errors.Is(err, fs.ErrNotExist) {
		k.ok("users: none yet, the first start makes one")
		return nil
	} else if err != nil {
		k.found("change its owner or mode", "%v", err)
		return nil
	}
	for _, f := range findings {
		k.found(f.hint, "%s:%d: %s", path, f.line, f.text)
	}
	k.secret(path)
	names, err := authList(path)
	if err != nil {
		k.report(err)
		return nil
	}
	k.ok("users: %d in %s", len(names), path)
	return names
}

// clientCA checks the CAs that sign for clients.
func (k *cmdChecking) clientCA(c *config) {
	said, findings := authClientCAFindings(c.tls.clientCA, time.Now())
	for _, finding := range findings {
		k.found("[tls] client_ca holds the certificates of the CAs that sign for clients, and lists of what they have revoked, in PEM", "%s", finding)
	}
	if said != "" {
		k.ok("client certificates: by %s; the user is the %s", said, map[string]string{"cn": "common name", "email": "address"}[c.tls.clientUser])
	}
}

// tokenKeys checks the keys by which tokens are signed.
func (k *cmdChecking) tokenKeys(path string) {
	said, findings := authKeysFindings(path)
	for _, finding := range findings {
		k.found("[oauth] keys holds the public keys of the authorization server, RS256, ES256 or EdDSA, as a JWK set or in PEM", "%s", finding)
	}
	if said != "" {
		k.ok("tokens: keys %s", said)
	}
}

// secret checks that a file with secrets, if there is one, is its owner's alone.
func (k *cmdChecking) secret(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // that it is missing is said where it is needed
	}
	if info.Mode()&0o007 != 0 {
		k.found("chmod 600 "+path, "everybody on this box can read %s", path)
	}
}

// strangers names directories of mail that no user reads.
func (k *cmdChecking) strangers(path string, users []string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return // directory has said so
	}
	for _, e := range entries {
		name := e.Name()
		if _, err := os.Stat(filepath.Join(path, name, "cur")); err != nil || name[0] == '.' || slices.Contains(users, name) {
			continue
		}
		hint := "letterbox user add " + name
		if canonical, err := authName(name); err == nil && canonical != name {
			hint = fmt.Sprintf("users' names are in lower case: rename it to %s, and: letterbox user add %s", canonical, canonical)
		}
		k.found(hint, "%s holds mail, but there is no user of that name", filepath.Join(path, name))
	}
}

// maildirs checks a user's folders.
func (k *cmdChecking) maildirs(user, root string) {
	info, err := os.Stat(root)
	if errors.Is(err, fs.ErrNotExist) {
		return // made with the first mail or login
	} else if err != nil {
		k.found("change the owner of the directories above it", "mail of %s: %v", user, err)
		return
	}
	folders, err := maildirFolders(root)
	if err != nil {
		k.found("change its owner, or run letterbox as that user", "mail of %s, which belongs to %s: %v", user, cmdOwner(info), err)
		return
	}
	messages, before := 0, k.findings
	for _, folder := range append([]string{""}, folders...) {
		messages += k.maildir(filepath.Join(root, folder))
	}
	if k.findings == before {
		k.ok("mail of %s: %d folders, %d messages", user, len(folders)+1, messages)
	}
}

// shadow tells who sees no folders of others for an own one that is called as those are.
func (k *cmdChecking) shadow(c *config, user string) {
	if c.imap.shared == "" || c.imap.prefix != "" {
		return
	}
	shadowed, err := mailboxShadowed(filepath.Join(c.storage.path, user), c.imap.shared)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.report(err)
	} else if shadowed {
		k.found("rename it in a mail program, or set another word in [imap] shared; its mail is served all the same",
			"%s has an own folder %s, and so sees no folders that others share", user, c.imap.shared)
	}
}

// cmdQuotaNear is how full a user's mail may be before it is told, in percent.
const cmdQuotaNear = 80

// quota tells whose mail is as much as allowed, or nearly. It counts all mail itself: maildirsize may be old.
func (k *cmdChecking) quota(c *config, user string) {
	limits, used, err := serverCheckQuota(c, user)
	if err != nil {
		k.found("change its owner or mode", "how much mail %s has: %v", user, err)
		return
	}
	for _, kind := range []struct {
		what        string
		used, limit int64
	}{{"bytes", used.bytes, limits.bytes}, {"messages", used.messages, limits.messages}} {
		switch {
		case kind.limit == 0:
		case kind.used >= kind.limit:
			k.found("raise quota or quota_messages, in [limits] or for this user alone, or let "+user+" delete some; until then mail is refused",
				"mail of %s: %d %s, and %d are allowed", user, kind.used, kind.what, kind.limit)
		case float64(kind.used)*100 >= float64(kind.limit)*cmdQuotaNear:
			k.ok("mail of %s: %d %s, of %d that are allowed", user, kind.used, kind.what, kind.limit)
		}
	}
}

// retention tells what would be removed now, and removes nothing.
func (k *cmdChecking) retention(c *config, users []string) {
	if !c.retains() {
		return
	}
	now := time.Now()
	if serverCheckClock(c, now) != nil {
		k.ok("retention: nothing is removed until the clock is set")
		return
	}
	var roots []string
	for _, user := range users {
		root := filepath.Join(c.storage.path, user)
		roots = append(roots, root)
		would, err := retainCheck(root, c.retentionOf(user), now)
		if err != nil {
			k.found("change its owner or mode", "mail of %s that expires: %v", user, err)
		}
		for _, w := range would {
			oldest := ""
			if !w.oldest.IsZero() {
				oldest = ", the oldest of " + w.oldest.Format(time.DateOnly)
			}
			k.ok("retention: of %s, %d messages in %s are there for more than %d days and would be removed%s", user, w.count, w.folder, w.days, oldest)
		}
	}
	unused, err := retainUnused(roots, c.retention)
	if err != nil {
		k.report(err)
	}
	for _, name := range unused {
		k.ok("retention: nobody has a folder %q", name)
	}
}

// maildir checks one folder and counts its messages.
func (k *cmdChecking) maildir(path string) (messages int) {
	for _, sub := range []string{"cur", "new", "tmp"} {
		dir := filepath.Join(path, sub)
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && sub != "cur" {
			continue // made when it is needed
		} else if err != nil {
			k.found("a Maildir has the directories cur, new and tmp; make the one that is missing", "%v", err)
			return 0
		}
		if !cmdMayWrite(dir) {
			k.found("change its owner, or run letterbox as that user", "user id %d may not write in %s, which belongs to %s", os.Getuid(), dir, cmdOwner(info))
			return 0
		}
	}
	md, err := maildirOpen(path)
	if err != nil {
		k.report(err)
		return 0
	}
	for _, cur := range []bool{false, true} {
		err := md.scanDir(cur, func(string, bool) { messages++ })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.found("change its owner or mode", "%v", err)
		}
	}
	_, _, err = md.readUidlist(nil, func(uint32, string, string) {})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.found("if it comes from a backup, restore it; else Letterbox makes a new one, and mail programs download the folder again",
			"the message numbers of %s: %v", path, err)
	}
	return messages
}

// cmdMayWrite asks the system, which knows of read-only file systems and of root.
func cmdMayWrite(path string) bool {
	const write, search = 2, 1
	return syscall.Access(path, write|search) == nil
}

// cmdOwner names a file's owner, by number, as sudo takes it, if nobody knows that one.
func cmdOwner(info os.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "another user"
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id // as sudo takes it
}
