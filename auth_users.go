package main

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The users file has a line a user, as htpasswd and Dovecot's passwd-file have it:
//
//	name:password[:uid:gid:gecos:home:shell:extra fields]
//
// password is {BLF-CRYPT}$2y$..., {CRYPT}$2y$... or a bare $2y$... ($2a$ and $2b$
// are the same thing). Extra fields are key=value, split by spaces; those whose
// value begins with a scheme are further credentials, named by their keys. One of
// them is ours: scram={SCRAM-SHA-256}..., written along with each password. Others of
// ours are app passwords (auth_app.go) and what the user has chosen (auth_choice.go).
//
// What is not understood is kept when a line is rewritten: comments, empty lines,
// users whose scheme we cannot check, the fields between.

const (
	authUsersMax   = 16 << 20        // bytes of a users file
	authExtraField = 7               // counted from 0
	authSettled    = 2 * time.Second // a file written longer ago than this has its final mtime, on FAT too
)

// authFile is the users file as it was read last.
type authFile struct {
	users map[string]*authUser
	scram bool            // all of them can log in by SCRAM
	apps  bool            // there are app passwords
	kinds []authScramKind // of the keys of all who can, by their names
	cost  int             // the largest of the hashes: what an unknown user costs
	info  os.FileInfo     // of the file that was read; nil if there was none
	racy  bool            // it was so new that another change may have left its stamp as it is
}

// authUser is one line of the file.
type authUser struct {
	name        string
	hash        string           // bcrypt's "$2y$..."; "" if the line has no such password
	credentials []authCredential // named ones, from the extra fields
	scramFor    string           // the password that the SCRAM keys are of
	locked      bool             // nothing lets the user in
	apps        []authApp
	onDelete    string // as it stands there; "" if it does not
}

type authCredential struct{ name, scheme, value string }

// load reads the file if it is not the one that was read last. When it cannot be
// read, what was read last stays.
func (f *authFile) load(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		*f = authFile{users: map[string]*authUser{}, cost: authCost}
		return nil
	} else if err != nil {
		return fmt.Errorf("reading the users file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("reading the users file: %w", err)
	}
	if f.info != nil && !f.racy && os.SameFile(f.info, info) &&
		f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime()) {
		return nil
	}
	text, err := authReadAll(file)
	if err != nil {
		return fmt.Errorf("reading the users file %s: %w", path, err)
	}
	users, _ := authParseUsers(text)
	age := time.Since(info.ModTime())
	*f = authFile{users: users, cost: authCost, info: info, racy: age.Abs() < authSettled, scram: len(users) > 0}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		u := users[name]
		f.apps = f.apps || len(u.apps) > 0
		keys := u.scramKeys()
		if f.scram = f.scram && (u.hash == "" || keys != nil); keys != nil {
			f.kinds = append(f.kinds, authScramKind{len(keys.salt), keys.iterations})
		}
		if cost, err := bcrypt.Cost([]byte(u.hash)); err == nil {
			f.cost = max(f.cost, cost)
		}
	}
	return nil
}

func authReadAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, authUsersMax+1))
	if err == nil && len(text) > authUsersMax {
		err = fmt.Errorf("larger than %d bytes", authUsersMax)
	}
	return text, err
}

func (f *authFile) names() []string {
	names := make([]string, 0, len(f.users))
	for name := range f.users {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// authFinding is something in the users file that keeps somebody from logging in, or from what was chosen.
type authFinding struct {
	line       int // from 1
	text, hint string
}

// authParseUsers reads a users file. A line it cannot use is a finding, never an
// error: the other users go on.
func authParseUsers(text []byte) (map[string]*authUser, []authFinding) {
	users := map[string]*authUser{}
	var findings []authFinding
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		u, err := authParseUser(strings.TrimRight(line, "\r\n"))
		if u == nil && err == nil {
			continue
		}
		if u != nil && users[u.name] != nil {
			err = fmt.Errorf("user %q is here a second time; the first line counts", u.name)
		} else if u != nil {
			users[u.name] = u
			if wrong := u.choices(); wrong != "" {
				findings = append(findings, authFinding{number, wrong, "the user chooses anew on the page, under \"Your mail\"; or take the field out of the line"})
			}
		}
		if err != nil {
			findings = append(findings, authFinding{number, err.Error(), "correct the line, or remove it and use: letterbox user add"})
		}
	}
	return users, findings
}

// authParseUser reads a line: nil, nil for one without a user. A user whose
// password cannot be checked is given with an error: the user exists, has mail, and
// cannot log in.
func authParseUser(line string) (*authUser, error) {
	if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
		return nil, nil
	}
	fields := strings.Split(line, ":")
	name, err := authName(fields[0])
	if err != nil {
		return nil, err
	}
	u := &authUser{name: name}
	if len(fields) > authExtraField {
		// Dovecot, too, takes colons after the seventh as part of the extra fields.
		extras := strings.Fields(strings.Join(fields[authExtraField:], ":"))
		u.apps = authAppsOf(extras)
		for _, extra := range extras {
			key, value, _ := strings.Cut(extra, "=")
			if key+"=" == authScramForField {
				u.scramFor = value
			}
			if key+"=" == authOnDeleteField {
				u.onDelete = value
			}
			if scheme, value, ok := authScheme(value); ok {
				u.credentials = append(u.credentials, authCredential{key, scheme, value})
			}
		}
	}
	password := ""
	if len(fields) > 1 {
		password = fields[1]
	}
	if u.locked = strings.HasPrefix(password, "!") || strings.HasPrefix(password, "*"); u.locked { // as in shadow(5)
		return u, nil
	}
	if u.hash, err = authHash(password); err != nil {
		return u, fmt.Errorf("user %q cannot log in: %w", name, err)
	}
	return u, nil
}

// authScheme splits "{SCHEME}value".
func authScheme(s string) (scheme, value string, ok bool) {
	if !strings.HasPrefix(s, "{") {
		return "", s, false
	}
	scheme, value, ok = strings.Cut(s[1:], "}")
	return strings.ToUpper(scheme), value, ok
}

// authHash gives the bcrypt hash of a password field.
func authHash(field string) (string, error) {
	scheme, hash, _ := authScheme(field)
	switch scheme {
	case "", "BLF-CRYPT", "CRYPT":
	default:
		return "", fmt.Errorf("passwords of scheme {%s} cannot be checked; set a new one by: letterbox user passwd", scheme)
	}
	if len(hash) != 60 || hash[0] != '$' || hash[1] != '2' || !strings.ContainsRune("aby", rune(hash[2])) {
		return "", errors.New("the password is not a bcrypt hash ($2y$...); set a new one by: letterbox user passwd")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return "", fmt.Errorf("the password is not a bcrypt hash: %w", err)
	}
	if cost > authMaxCost {
		return "", fmt.Errorf("the password's bcrypt cost is %d, more than %d; set a new one by: letterbox user passwd", cost, authMaxCost)
	}
	return hash, nil
}

// authAdd adds a user to the users file, which is made if need be; authPassword
// changes a user's password; authDelete removes a user. They are durable when they
// return. errAuthExists, errAuthNoUser, errAuthName, errAuthPassword.
func authAdd(path, user, password string) error {
	if err := fileMakeAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making the directory of the users file: %w", err)
	}
	return authEdit(path, user, func(lines []string, at int, name string) ([]string, error) {
		if at >= 0 {
			return nil, fmt.Errorf("%q: %w", name, errAuthExists)
		}
		line, err := authSetPassword(name, password)
		return append(lines, line), err
	})
}

func authPassword(path, user, password string) error {
	return authEdit(path, user, func(lines []string, at int, name string) ([]string, error) {
		if at < 0 {
			return nil, fmt.Errorf("%q: %w", name, errAuthNoUser)
		}
		line, err := authSetPassword(lines[at], password)
		lines[at] = line
		return lines, err
	})
}

// authEditFields changes the extra fields of a user's line.
func authEditFields(path, user string, edit func(u *authUser, fields []string) ([]string, error)) error {
	return authEdit(path, user, func(lines []string, at int, name string) ([]string, error) {
		if at < 0 {
			return nil, fmt.Errorf("%q: %w", name, errAuthNoUser)
		}
		line := strings.TrimRight(lines[at], "\r")
		u, _ := authParseUser(line) // one who cannot log in by the password has apps all the same
		parts := strings.SplitN(line, ":", authExtraField+1)
		for len(parts) <= authExtraField {
			parts = append(parts, "")
		}
		fields, err := edit(u, strings.Fields(parts[authExtraField]))
		if err != nil {
			return nil, err
		}
		parts[authExtraField] = strings.Join(fields, " ")
		lines[at] = strings.Join(parts, ":")
		return lines, nil
	})
}

func authDelete(path, user string) error {
	return authEdit(path, user, func(lines []string, at int, name string) ([]string, error) {
		if at < 0 {
			return nil, fmt.Errorf("%q: %w", name, errAuthNoUser)
		}
		// A second line of the same name would make the user come back.
		return slices.DeleteFunc(lines, func(line string) bool {
			u, _ := authParseUser(line)
			return u != nil && u.name == name
		}), nil
	})
}

// authList gives the users of a users file, sorted.
func authList(path string) ([]string, error) {
	var f authFile
	if err := f.load(path); err != nil {
		return nil, err
	}
	return f.names(), nil
}

// authFindings gives what is wrong in a users file.
func authFindings(path string) ([]authFinding, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the users file: %w", err)
	}
	defer file.Close()
	text, err := authReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("reading the users file %s: %w", path, err)
	}
	_, findings := authParseUsers(text)
	return findings, nil
}

// authEdit changes the users file: edit gets its lines, without their ends, and the
// number of the user's, -1 if there is none.
func authEdit(path, user string, edit func(lines []string, at int, name string) ([]string, error)) error {
	name, err := authName(user)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays a link
	}
	unlock, err := authLockUsers(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	text, old, err := authReadOld(path)
	if err != nil {
		return fmt.Errorf("changing the users file %s: %w", path, err)
	}
	var lines []string
	for line := range bytes.Lines(text) {
		lines = append(lines, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	at := slices.IndexFunc(lines, func(line string) bool {
		u, _ := authParseUser(strings.TrimRight(line, "\r"))
		return u != nil && u.name == name
	})
	if lines, err = edit(lines, at, name); err != nil {
		return err
	}
	out := strings.Join(lines, "\n")
	if len(lines) > 0 {
		out += "\n"
	}
	if err := authReplace(path, old, []byte(out)); err != nil {
		return fmt.Errorf("changing the users file: %w", err)
	}
	return nil
}

// authReadOld gives the file's text and what it is; nil, nil if there is none.
func authReadOld(path string) (text []byte, old os.FileInfo, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	if old, err = file.Stat(); err == nil {
		text, err = authReadAll(file)
	}
	return text, old, err
}

// authReplace writes the file anew. It keeps its mode and owner, and a new one is
// its directory's owner's, for root often sets the passwords of a server that runs
// as somebody else and must be able to read them.
func authReplace(path string, old os.FileInfo, text []byte) error {
	mode, like := os.FileMode(0o600), old
	if old != nil {
		mode = old.Mode().Perm()
	} else if dir, err := os.Stat(filepath.Dir(path)); err == nil {
		like = dir
	}
	r, err := fileReplaceBegin(path, mode)
	if err != nil {
		return err
	}
	if like != nil && os.Geteuid() == 0 {
		if owner, ok := like.Sys().(*syscall.Stat_t); ok {
			err = r.Chown(int(owner.Uid), int(owner.Gid))
		}
	}
	if err == nil {
		_, err = r.Write(text)
	}
	if err != nil {
		r.abort()
		return err
	}
	return r.commit()
}

// authLockUsers keeps two programs from changing the users file at a time. The lock
// is on the directory, so no lock file stays behind.
func authLockUsers(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("changing the users file: %w", err)
	}
	// Some network file systems cannot lock a directory. Then two changes in the same
	// instant may lose one of them, as with any other password tool.
	_ = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
	return func() { d.Close() }, nil
}

// authSetPassword gives a line (or a bare name) with a new password.
func authSetPassword(line, password string) (string, error) {
	password, err := authPrepare(password)
	if err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), authCost)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	salt := authSalt()
	if u, _ := authParseUser(strings.TrimRight(line, "\r")); u != nil && len(u.apps) > 0 {
		salt = u.apps[0].keys.salt
	}
	scram, err := authScram(password, salt)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	fields := strings.SplitN(strings.TrimRight(line, "\r"), ":", authExtraField+1)
	for len(fields) <= authExtraField {
		fields = append(fields, "")
	}
	fields[1] = "{BLF-CRYPT}$2y$" + strings.TrimPrefix(string(hash), "$2a$") // the same algorithm
	extra := slices.DeleteFunc(strings.Fields(fields[authExtraField]), func(field string) bool {
		return strings.HasPrefix(field, authScramField) || strings.HasPrefix(field, authScramForField)
	})
	bound := authScramForField + authScramFor("$2y$"+strings.TrimPrefix(string(hash), "$2a$"))
	fields[authExtraField] = strings.Join(append(extra, authScramField+scram, bound), " ")
	return strings.Join(fields, ":"), nil
}

const (
	authScramField      = "scram="
	authScramIterations = 4096 // RFC 7677, section 4
	authScramSalt       = 16   // bytes
)

// authScram gives what a server keeps of a password for SCRAM-SHA-256 (RFC 7677;
// RFC 5802, section 3), as Dovecot writes it.
func authScram(password string, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, authScramIterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(authScramSign(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{SCRAM-SHA-256}%d,%s,%s,%s", authScramIterations, b64(salt), b64(stored[:]), b64(authScramSign(salted, "Server Key"))), nil
}
