package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// App passwords: one for each device, so that one that is lost can be shut out without touching the
// others. They are made here and never chosen, so they are random, and their keys can be of the fast
// kind: SCRAM's, which serve for a password that is said as well as for one that is proved. They
// stand among the extra fields of the user's line:
//
//	app.NAME={SCRAM-SHA-256}4096,salt,stored,server app.NAME.made=2026-11-25
//
// All keys of a user have one salt: the server has to name it before it knows which of the
// passwords the client has. Mail programs log in with them; the page does not let them in.

const (
	authAppPrefix = "app."
	authAppMade   = ".made"
	authAppMost   = 20 // of a user
	authAppName   = 40 // bytes
)

var (
	errAuthAppExists = errors.New("there is an app password of that name already")
	errAuthAppNone   = errors.New("there is no app password of that name")
	errAuthAppMost   = fmt.Errorf("there are %d app passwords already; remove one", authAppMost)
	errAuthAppName   = errors.New("not a name for an app password") // wraps the reason
)

// authApp is one app password, without the password.
type authApp struct {
	name string
	made string // a date, "" if it is not known
	keys *authScramKeys
}

// authAppField is the key of an app password's field. A name may have anything in it.
func authAppField(name string) string {
	return authAppPrefix + strings.ReplaceAll(url.QueryEscape(name), ".", "%2E")
}

// authAppsOf takes the app passwords out of a user's extra fields.
func authAppsOf(fields []string) (apps []authApp) {
	made := map[string]string{}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		if !strings.HasPrefix(key, authAppPrefix) {
			continue
		}
		if of, ok := strings.CutSuffix(key, authAppMade); ok {
			made[of] = value
			continue
		}
		name, err := url.QueryUnescape(key[len(authAppPrefix):])
		scheme, value, ok := authScheme(value)
		if err != nil || !ok || scheme != "SCRAM-SHA-256" || authAppField(name) != key {
			continue // somebody else's field
		}
		if keys := authParseScram(value); keys != nil {
			apps = append(apps, authApp{name: name, keys: keys})
		}
	}
	for i := range apps {
		apps[i].made = made[authAppField(apps[i].name)]
	}
	return apps
}

// app finds the app password that this is.
func (u *authUser) app(password string) (name string, ok bool) {
	var salted []byte
	for i, app := range u.apps {
		if i == 0 || !app.keys.sameSalt(u.apps[0].keys) {
			var err error
			if salted, err = pbkdf2.Key(sha256.New, password, app.keys.salt, app.keys.iterations, sha256.Size); err != nil {
				return "", false
			}
		}
		stored := sha256.Sum256(authScramSign(salted, "Client Key"))
		if hmac.Equal(stored[:], app.keys.stored) {
			return app.name, true
		}
	}
	return "", false
}

// hasApp tells whether there still is an app password of that name.
func (u *authUser) hasApp(name string) bool {
	return slices.ContainsFunc(u.apps, func(a authApp) bool { return a.name == name })
}

// sameSalt tells whether a client could have meant either.
func (k *authScramKeys) sameSalt(other *authScramKeys) bool {
	return k.iterations == other.iterations && slices.Equal(k.salt, other.salt)
}

// authAppAdd makes an app password; it is told here and never again. authAppDrop removes one.
// errAuthAppExists, errAuthAppNone, errAuthAppMost, errAuthAppName, errAuthNoUser.
func authAppAdd(path, user, name string, now time.Time) (password string, err error) {
	if name, err = authAppClean(name); err != nil {
		return "", err
	}
	password = authRandomPassword()
	err = authEditFields(path, user, func(u *authUser, fields []string) ([]string, error) {
		if slices.ContainsFunc(u.apps, func(a authApp) bool { return strings.EqualFold(a.name, name) }) {
			return nil, errAuthAppExists
		}
		if len(u.apps) >= authAppMost {
			return nil, errAuthAppMost
		}
		salt := u.salt()
		if salt == nil {
			salt = authSalt()
		}
		keys, err := authScram(password, salt)
		if err != nil {
			return nil, fmt.Errorf("hashing a password: %w", err)
		}
		fields = append(fields, authAppField(name)+"="+keys)
		if !now.IsZero() {
			fields = append(fields, authAppField(name)+authAppMade+"="+now.UTC().Format(time.DateOnly))
		}
		return fields, nil
	})
	return password, err
}

func authAppDrop(path, user, name string) error {
	return authEditFields(path, user, func(u *authUser, fields []string) ([]string, error) {
		if !slices.ContainsFunc(u.apps, func(a authApp) bool { return a.name == name }) {
			return nil, errAuthAppNone
		}
		key := authAppField(name)
		return slices.DeleteFunc(fields, func(field string) bool {
			return strings.HasPrefix(field, key+"=") || strings.HasPrefix(field, key+authAppMade+"=")
		}), nil
	})
}

// salt is the one that all keys of a user must have; nil if it can be chosen.
func (u *authUser) salt() []byte {
	if len(u.apps) > 0 && u.apps[0].keys.iterations == authScramIterations {
		return u.apps[0].keys.salt
	}
	if keys := u.scramKeys(); keys != nil && keys.iterations == authScramIterations {
		return keys.salt
	}
	return nil
}

func authSalt() []byte {
	salt := make([]byte, authScramSalt)
	rand.Read(salt) // never fails
	return salt
}

// authAppClean gives a name without what nobody sees.
func authAppClean(name string) (string, error) {
	name = norm.NFC.String(strings.Join(strings.Fields(name), " "))
	switch {
	case name == "" || len(name) > authAppName:
		return "", fmt.Errorf("%w: it must have 1 to %d bytes", errAuthAppName, authAppName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fmt.Errorf("%w: it has characters that cannot be seen", errAuthAppName)
	}
	return name, nil
}

// What may be done with the users file by who has this auth.

func (a *auth) addUser(user, password string) error { return authAdd(a.settings.path, user, password) }
func (a *auth) setPassword(user, password string) error {
	return authPassword(a.settings.path, user, password)
}
func (a *auth) deleteUser(user string) error { return authDelete(a.settings.path, user) }

func (a *auth) addApp(user, name string, now time.Time) (password string, err error) {
	return authAppAdd(a.settings.path, user, name, now)
}

func (a *auth) dropApp(user, name string) error { return authAppDrop(a.settings.path, user, name) }

// apps are a user's app passwords.
func (a *auth) apps(user string) ([]authApp, error) {
	u, err := a.user(user)
	if err != nil || u == nil {
		return nil, err
	}
	return u.apps, nil
}

// stays gives a function that tells whether a login still counts: the user is there and not locked, and has the password, or the
// app password, of then. While the users file cannot be read it tells so of all.
func (a *auth) stays(user, app string) func() bool {
	u, _ := a.user(user) // none, if it cannot be told who has just logged in
	was := u.standing(app)
	return func() bool {
		u, err := a.user(user)
		is := u.standing(app)
		return err != nil || is != "" && is == was
	}
}

// standing is something that changes with what a login of the user stands on; "" if none counts.
func (u *authUser) standing(app string) string {
	if u == nil || u.locked {
		return ""
	}
	if app == "" {
		return "own " + u.hash
	}
	i := slices.IndexFunc(u.apps, func(known authApp) bool { return known.name == app })
	if i < 0 {
		return ""
	}
	return "app " + string(u.apps[i].keys.stored)
}

// passwordStamp is something that changes when the user's password does; "" if there is no such
// user, or none who can log in.
func (a *auth) passwordStamp(user string) string {
	u, err := a.user(user)
	if err != nil || u == nil || u.hash == "" {
		return ""
	}
	return authScramFor(u.hash)
}
