package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Who is logged in. A session is a random word in a cookie, and lives in memory: a restart ends all.
// It ends by itself when nobody uses it, and when the user's password changes or the user goes.
//
// A form has the session's token in it, which no other site can know, and browsers say where a form
// comes from.

const (
	webSessionIdle  = time.Hour
	webSessionLong  = 12 * time.Hour
	webSessionsMost = 100
	webSessionsUser = 10 // of one user
	webFieldsMost   = 16 // of a form: thousands of them would take a hundred times their size

	webCookie      = "__Host-letterbox"       // with this prefix no other host, and nothing in clear, can set it (draft-ietf-httpbis-rfc6265bis)
	webCookieLogin = "__Host-letterbox-login" // before the login: the token of its form
)

// webSessionKey names a session: what is in memory does not tell the cookie.
type webSessionKey [sha256.Size]byte

// webSession is one browser that has logged in.
type webSession struct {
	key   webSessionKey
	user  string
	stamp string // of the password
	token string
	begun time.Time

	used   time.Time // guarded by the sessions' mu, as notice is
	notice string
}

// webSessions are all that there are.
type webSessions struct {
	mu  sync.Mutex // guards all below
	all map[webSessionKey]*webSession
}

// webRandom is a word that nobody guesses.
func webRandom() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// begin makes a session and gives the word for the cookie. The oldest make room.
func (s *webSessions) begin(user, stamp string) (word string, session *webSession) {
	word = webRandom()
	now := time.Now()
	session = &webSession{key: sha256.Sum256([]byte(word)), user: user, stamp: stamp, token: webRandom(), begun: now, used: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(webSessionsUser-1, func(other *webSession) bool { return other.user == user })
	s.makeRoom(webSessionsMost-1, func(*webSession) bool { return true })
	s.all[session.key] = session
	return word, session
}

// makeRoom ends sessions of a kind until there are no more than most; s.mu is held.
func (s *webSessions) makeRoom(most int, kind func(*webSession) bool) {
	for {
		n := 0
		var oldest *webSession
		for _, other := range s.all {
			if !kind(other) {
				continue
			}
			if n++; oldest == nil || other.used.Before(oldest.used) {
				oldest = other
			}
		}
		if n <= most {
			return
		}
		delete(s.all, oldest.key)
	}
}

// find gives the session of a cookie, and notes that it is used.
func (s *webSessions) find(word string) *webSession {
	key := webSessionKey(sha256.Sum256([]byte(word)))
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.all[key]
	if session == nil {
		return nil
	}
	if now.Sub(session.used) > webSessionIdle || now.Sub(session.begun) > webSessionLong {
		delete(s.all, key)
		return nil
	}
	session.used = now
	return session
}

func (s *webSessions) end(session *webSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, session.key)
}

// say keeps a sentence for the next page of the session; takeNotice gives it, once.
func (s *webSessions) say(session *webSession, notice string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session.notice = notice
}

func (s *webSessions) takeNotice(session *webSession) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	notice := session.notice
	session.notice = ""
	return notice
}

// readSession finds the visitor's session.
func (v *webVisit) readSession() *webSession {
	cookie, err := v.r.Cookie(webCookie)
	if err != nil {
		return nil
	}
	session := v.state.sessions.find(cookie.Value)
	if session == nil {
		return nil
	}
	if stamp := v.auth.passwordStamp(session.user); stamp == "" || stamp != session.stamp {
		v.state.sessions.end(session)
		return nil
	}
	return session
}

// beginSession logs a user in. A session that the browser had before is another one.
func (v *webVisit) beginSession(user string) {
	if v.session != nil {
		v.state.sessions.end(v.session)
	}
	word, session := v.state.sessions.begin(user, v.auth.passwordStamp(user))
	v.session = session
	v.setCookie(webCookie, word)
	v.setCookie(webCookieLogin, "")
}

// setCookie gives the browser a cookie until it is closed; "" takes it away.
func (v *webVisit) setCookie(name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}

var (
	errWebForm    = webRefusal{http.StatusForbidden, "This form is too old, or comes from another page. Please try it again."}
	errWebNoForm  = webRefusal{http.StatusUnsupportedMediaType, "This is not the form of this page."}
	errWebTooMuch = webRefusal{http.StatusRequestEntityTooLarge, "This is more than the form holds."}
)

// checkForm reads a form, and refuses one that another site has sent.
func (v *webVisit) checkForm() error {
	if origin := v.r.Header.Get("Origin"); origin != "" {
		from, err := url.Parse(origin)
		if err != nil || from.Scheme != "https" || !strings.EqualFold(from.Host, v.r.Host) {
			return errWebForm
		}
	}
	if site := v.r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return errWebForm
	}
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return errWebNoForm
	}
	body, err := io.ReadAll(v.r.Body)
	if err != nil || bytes.Count(body, []byte("&")) >= webFieldsMost {
		return errWebTooMuch
	}
	if v.r.PostForm, err = url.ParseQuery(string(body)); err != nil {
		return errWebNoForm
	}
	want := ""
	if v.route.who >= webUser {
		want = v.session.token
	} else if cookie, err := v.r.Cookie(webCookieLogin); err == nil {
		want = cookie.Value
	}
	if want == "" || subtle.ConstantTimeCompare([]byte(v.r.PostForm.Get("token")), []byte(want)) != 1 {
		return errWebForm
	}
	return nil
}
