package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// webUsersTest is a door with alice, who is the administrator, and bob; the password of both is "secret".
func webUsersTest(t *testing.T, change func(*webSettings)) *webDoor {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	testUsersFile(t, path, "alice:"+testHash("secret"), "bob:"+testHash("secret"))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	store, err := newMailboxStore(mailboxSettings{root: filepath.Join(dir, "mail"), now: time.Now, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(store.close)
	d := webTest(t, func(s *webSettings) {
		s.auth, s.store, s.admins, s.onDelete, s.now = a, store, []string{"alice"}, "hide", time.Now
		s.aliases = map[string][]string{"family": {"alice", "bob"}, "<b>": {"alice"}}
		s.findings = func() []webFinding { return []webFinding{{"the <clock> is wrong", "set it"}} }
		if change != nil {
			change(s)
		}
	})
	d.webSettings.log = logTelling(slog.New(slog.DiscardHandler), d.state.told).With("door", "https", "from", "192.168.1.7")
	return d
}

// webBrowserTest is a browser as far as it matters here: it keeps cookies, says where a form comes from, and finds
// the token of a form in the page before.
type webBrowserTest struct {
	t       *testing.T
	d       *webDoor
	cookies map[string]string
	token   string
	headers []string // sent along
	last    *httptest.ResponseRecorder
}

func newWebBrowserTest(t *testing.T, d *webDoor) *webBrowserTest {
	return &webBrowserTest{t: t, d: d, cookies: map[string]string{}}
}

var webTokenField = regexp.MustCompile(`name="token" value="([^"]*)"`)

func (b *webBrowserTest) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	var cookies []string
	for name, value := range b.cookies {
		cookies = append(cookies, name+"="+value)
	}
	if len(cookies) > 0 {
		headers = append(headers, "Cookie", strings.Join(cookies, "; "))
	}
	w := webAsk(b.d, method, "https://pi.local"+path, body, append(headers, b.headers...)...)
	for _, c := range w.Result().Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			b.t.Errorf("cookie %+v", c)
		}
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	if m := webTokenField.FindStringSubmatch(w.Body.String()); m != nil {
		b.token = m[1]
	}
	b.last = w
	return w
}

func (b *webBrowserTest) get(path string) *httptest.ResponseRecorder { return b.send("GET", path, "") }

// post sends a form: names and values in turn.
func (b *webBrowserTest) post(path string, fields ...string) *httptest.ResponseRecorder {
	form := url.Values{"token": {b.token}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.send("POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://pi.local", "Sec-Fetch-Site", "same-origin")
}

// login logs in, which must go well.
func (b *webBrowserTest) login(user, password string) *webBrowserTest {
	b.t.Helper()
	b.get("/login")
	if w := b.post("/login", "user", user, "password", password); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/me" {
		b.t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	b.get("/me")
	return b
}

// want checks the last answer.
func (b *webBrowserTest) want(status int, words ...string) {
	b.t.Helper()
	if b.last.Code != status {
		b.t.Errorf("%d, want %d", b.last.Code, status)
	}
	webWant(b.t, "the page", b.last, words)
}

func TestWebLogin(t *testing.T) {
	d := webUsersTest(t, nil)
	b := newWebBrowserTest(t, d)
	b.get("/me")
	b.want(303, "Location: /login")
	b.get("/login")
	b.want(200, `name="password"`)
	before := b.cookies[webCookieLogin]
	b.post("/login", "user", "<b>bob", "password", "wrong")
	b.want(403, "wrong", "&lt;b&gt;bob", "!<b>bob")
	if b.cookies[webCookie] != "" {
		t.Error("a failed login begins a session")
	}
	b.post("/login", "user", "Bob", "password", "secret")
	b.want(303, "Location: /me")
	if b.cookies[webCookie] == "" || b.cookies[webCookie] == before || b.cookies[webCookieLogin] != "" {
		t.Errorf("cookies %v", b.cookies)
	}
	b.get("/me")
	b.want(200, "bob@example.org", "!Users", "Cache-Control: no-store")
	b.get("/login")
	b.want(303, "Location: /me")
	for _, route := range webRoutes {
		if route.who == webAdmin {
			b.send(route.method, route.path, "")
			b.want(403, "administrator")
		}
	}
	b.get("/me")
	old := b.cookies[webCookie]
	b.post("/logout")
	b.want(303, "Location: /")
	b.cookies[webCookie] = old
	b.get("/me")
	b.want(303, "Location: /login")
	if events := d.state.events.last(); len(events) != 1 || events[0].What != "login failed" {
		t.Errorf("%+v", events)
	}
}

// The paths of the part that needs a login lead away without one, and are not told in clear.
func TestWebLoginNeeded(t *testing.T) {
	d := webUsersTest(t, nil)
	for _, route := range webRoutes {
		if route.who >= webUser {
			b := newWebBrowserTest(t, d)
			b.cookies[webCookie] = "made-up"
			b.send(route.method, route.path, "")
			b.want(303, "Location: /login")
		}
		if route.who >= webTLS {
			w := webAsk(d, route.method, "http://pi.local"+route.path, "user=bob&password=secret", "Content-Type", "application/x-www-form-urlencoded")
			if want := map[string]int{"GET": 302, "POST": 403}[route.method]; w.Code != want || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("%s %s in clear: %d %v", route.method, route.path, w.Code, w.Header())
			}
		}
	}
}

// What a hostile site, or a hostile visitor, sends instead of a form.
func TestWebForged(t *testing.T) {
	d := webUsersTest(t, nil)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, test := range []struct {
		what    string
		body    string
		headers []string
		status  int
	}{
		{"no token", "name=x", form, 403},
		{"an empty token", "name=x&token=", form, 403},
		{"another's token", "name=x&token=" + webRandom(), form, 403},
		{"the token in the query only", "name=x", form, 403},
		{"a foreign origin", "name=x&token=TOKEN", append(form, "Origin", "https://evil.example"), 403},
		{"the origin in clear", "name=x&token=TOKEN", append(form, "Origin", "http://pi.local"), 403},
		{"another port of this box", "name=x&token=TOKEN", append(form, "Origin", "https://pi.local:8443"), 403},
		{"an origin that is hidden", "name=x&token=TOKEN", append(form, "Origin", "null"), 403},
		{"no URL", "name=x&token=TOKEN", append(form, "Origin", "https://pi.local%zz"), 403},
		{"a foreign site", "name=x&token=TOKEN", append(form, "Sec-Fetch-Site", "cross-site"), 403},
		{"the same site, another host", "name=x&token=TOKEN", append(form, "Sec-Fetch-Site", "same-site"), 403},
		{"text", "name=x&token=TOKEN", []string{"Content-Type", "text/plain"}, 415},
		{"a form with files", "--x\r\n", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		{"no type", "name=x&token=TOKEN", nil, 415},
		{"too much", "token=TOKEN&name=" + strings.Repeat("x", webBodyMost), form, 413},
		{"too many fields", "token=TOKEN&name=x" + strings.Repeat("&x", webFieldsMost), form, 413},
		{"too many fields", "token=TOKEN&name=x" + strings.Repeat("&a=b", 12000), form, 413},
		{"no form", "token=TOKEN&name=%zz", form, 415},
		{"all as it should be", "name=fine&token=TOKEN", append(form, "Origin", "https://pi.local", "Sec-Fetch-Site", "same-origin"), 200},
	} {
		b := newWebBrowserTest(t, d).login("bob", "secret")
		w := b.send("POST", "/me/apps/add?token="+b.token, strings.ReplaceAll(test.body, "TOKEN", b.token), test.headers...)
		apps, err := d.auth.apps("bob")
		must(t, err)
		if w.Code != test.status || (len(apps) > 0) != (test.status == 200) {
			t.Errorf("%s: %d, want %d; %d app passwords", test.what, w.Code, test.status, len(apps))
		}
	}
	b := newWebBrowserTest(t, d)
	b.token = "chosen by somebody"
	b.post("/login", "user", "bob", "password", "secret")
	b.want(403, "!Location")
	b.cookies[webCookie] = "chosen by somebody" // fixation
	b.login("bob", "secret")
	if b.cookies[webCookie] == "chosen by somebody" {
		t.Error("the session is the one that somebody chose")
	}
	first := b.cookies[webCookie]
	b.cookies[webCookie] = ""
	delete(b.cookies, webCookie)
	if b.login("bob", "secret"); b.cookies[webCookie] == first {
		t.Error("two logins, one session")
	}
}

// The throttle is that of the mail ports: whoever guessed there has to wait here.
func TestWebThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		testUsersFile(t, path, "bob:"+testHash("secret"))
		a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
		must(t, err)
		d := webTest(t, func(s *webSettings) { s.auth = a })
		for i := range 12 {
			if _, _, err := a.login(netip.MustParseAddr("192.168.1.7"), "bob", fmt.Sprint("guess ", i)); !errors.Is(err, errAuthFailed) {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		b := newWebBrowserTest(t, d)
		b.get("/login")
		b.post("/login", "user", "bob", "password", "secret")
		b.want(303)
		if waited := time.Since(begun); waited < authFirstPause {
			t.Errorf("it waited %v", waited)
		}
	})
}

func TestWebSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWebState()
		word, session := s.sessions.begin("alice", "x")
		time.Sleep(webSessionIdle)
		if s.sessions.find(word) != session || s.sessions.find(word+"x") != nil || s.sessions.find("") != nil {
			t.Error("the session is not found")
		}
		time.Sleep(webSessionIdle + time.Second)
		if s.sessions.find(word) != nil || len(s.sessions.all) != 0 {
			t.Error("it does not end when nobody uses it")
		}
		word, _ = s.sessions.begin("alice", "x")
		for range int(webSessionLong/webSessionIdle) * 2 {
			time.Sleep(webSessionIdle / 2)
			s.sessions.find(word)
		}
		time.Sleep(time.Second)
		if s.sessions.find(word) != nil {
			t.Error("it does not end at all")
		}
		first, _ := s.sessions.begin("bob", "x")
		var words []string
		for range webSessionsUser + 5 {
			time.Sleep(time.Second)
			word, _ := s.sessions.begin("alice", "x")
			words = append(words, word)
		}
		if s.sessions.find(words[4]) != nil || s.sessions.find(words[5]) == nil || s.sessions.find(first) == nil {
			t.Error("it is not the user's oldest that makes room")
		}
		for i := range 3 * webSessionsMost {
			time.Sleep(time.Second)
			s.sessions.begin(fmt.Sprint("user", i), "x")
		}
		if len(s.sessions.all) != webSessionsMost {
			t.Errorf("%d sessions", len(s.sessions.all))
		}
	})
}

func TestWebPassword(t *testing.T) {
	d := webUsersTest(t, nil)
	b, other := newWebBrowserTest(t, d).login("bob", "secret"), newWebBrowserTest(t, d).login("bob", "secret")
	b.get("/me/password")
	for _, test := range []struct{ old, new, again, want string }{
		{"secret", "tiny", "tiny", "too short"},
		{"secret", "long enough", "long enoug", "differ"},
		{"wrong", "long enough", "long enough", "old password is wrong"},
		{"secret", strings.Repeat("x", 73), strings.Repeat("x", 73), "73 bytes"},
		{"secret", "long\nenough", "long\nenough", "control character"},
	} {
		b.post("/me/password", "old", test.old, "new", test.new, "again", test.again)
		b.want(422, test.want, "!"+test.new)
	}
	b.post("/me/password", "old", "secret", "new", "long enough", "again", "long enough")
	b.want(303, "Location: /me")
	b.get("/me")
	b.want(200, "The password is changed")
	b.get("/me")
	b.want(200, "!The password is changed")
	other.get("/me")
	other.want(303, "Location: /login")
	if _, _, err := d.auth.login(netip.MustParseAddr("192.168.1.9"), "bob", "long enough"); err != nil {
		t.Error(err)
	}
	must(t, d.auth.deleteUser("bob"))
	b.get("/me")
	b.want(303, "Location: /login")
}

func TestWebApps(t *testing.T) {
	d := webUsersTest(t, nil)
	b := newWebBrowserTest(t, d).login("bob", "secret")
	name := `<img src=x>"' Bob's phone`
	b.post("/me/apps/add", "name", name)
	b.want(200, html.EscapeString(name), "!<img src=x>")
	m := regexp.MustCompile(`<code class="secret">([a-z2-9-]+)</code>`).FindStringSubmatch(b.last.Body.String())
	if m == nil {
		t.Fatalf("no password in\n%s", b.last.Body)
	}
	if _, app, err := d.auth.login(netip.MustParseAddr("192.168.1.9"), "bob", m[1]); err != nil || app != name {
		t.Errorf("%q, %v", app, err)
	}
	b.post("/me/apps/add", "name", name)
	b.want(422, "already", "!class=\"secret\"")
	b.post("/me/apps/add", "name", "\x00")
	b.want(422)
	b.get("/me/devices")
	b.want(200, html.EscapeString(name), "!"+m[1])
	out := newWebBrowserTest(t, d)
	out.get("/login")
	out.post("/login", "user", "bob", "password", m[1])
	out.want(403, "App passwords are for mail programs")
	b.post("/me/apps/remove", "name", "another")
	b.want(422)
	b.post("/me/apps/remove", "name", name)
	b.want(303, "Location: /me/devices")
	b.get("/me/devices")
	b.want(200, "lets nobody in any more")
	if _, _, err := d.auth.login(netip.MustParseAddr("192.168.1.9"), "bob", m[1]); !errors.Is(err, errAuthFailed) {
		t.Errorf("a removed one: %v", err)
	}
}

// What strangers choose, as names of folders, senders, clients, is text and nothing else.
func TestWebEscapes(t *testing.T) {
	const bad = `<script>alert('x')</script>"><img src=x onerror=y>`
	d := webUsersTest(t, nil)
	tree, err := d.store.tree("alice")
	must(t, err)
	must(t, tree.create("<script>alert('x')<", ""))
	door := d.webSettings.log
	logLogin(door.With("door", "imaps", "from", bad), "alice", "LOGIN", bad)
	logIMAPClient(door.With("door", "imaps", "from", bad), "alice", []string{"name", bad, "version", "\x1b[31m\u202e"})
	logDelivered(door, "id", bad, bad, 1)
	logRefused(door, "MAIL", bad, 550, bad)
	logNotDelivered(door, "id", bad, bad, errors.New(bad))
	logLoginFailed(door, bad, bad, errors.New(bad))
	b := newWebBrowserTest(t, d)
	b.headers = []string{"User-Agent", bad}
	b.login("alice", "secret")
	for path, want := range map[string]string{"/me": "&lt;script&gt;alert", "/me/devices": "&lt;script&gt;alert", "/admin": "&lt;b&gt;", "/admin/user?name=alice": "&lt;script&gt;", "/admin/mail": "&lt;script&gt;alert",
		"/admin/health": "the &lt;clock&gt;", "/admin/user?name=" + url.QueryEscape(bad): "no such user"} {
		b.get(path)
		webWant(t, path, b.last, []string{want, "!<script", "!<img src=x", "!\x1b", "!\u202e"})
	}
}

func TestWebStorage(t *testing.T) {
	d := webUsersTest(t, nil)
	tree, err := d.store.tree("bob")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tree.root, "new", "1.M1.pi,S=3000"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(tree.root, ".Sent", "cur", "1.M2.pi:2,S"), make([]byte, 1096), 0o600))
	b := newWebBrowserTest(t, d).login("bob", "secret")
	b.want(200, "<b>4 KiB</b>, 2 messages. There is no limit.", "INBOX", "2.9 KiB")
	d.store.limitQuotas(func(string) mailboxQuota { return mailboxQuota{8192, 100} })
	b.get("/me")
	b.want(200, "<b>4 KiB</b> of 8 KiB, 2 messages of 100", `value="50"`)
	d.listening = func() []webService { return nil }
	b.get("/me")
	b.want(200, "!POP3")
	b = newWebBrowserTest(t, d).login("alice", "secret")
	for want, quota := range map[string]mailboxQuota{">none<": {}, ">8 KiB<": {8192, 0}, ">100 messages<": {0, 100}, ">8 KiB, 1 message<": {8192, 1}} {
		d.store.limitQuotas(func(string) mailboxQuota { return quota })
		b.get("/admin")
		b.want(200, want)
	}
	b.get("/nothing")
	b.want(404, "Log out", "!Log in")
}

// What POP3 deletes: each user chooses, with an own form, and stays logged in.
func TestWebOnDelete(t *testing.T) {
	d := webUsersTest(t, nil)
	b, alice := newWebBrowserTest(t, d).login("bob", "secret"), newWebBrowserTest(t, d).login("alice", "secret")
	chosen := func(b *webBrowserTest, word string) {
		t.Helper()
		b.get("/me")
		b.want(200, `value="`+word+`" checked`, "already stays hidden")
		if n := strings.Count(b.last.Body.String(), " checked"); n != 1 {
			t.Errorf("%d are chosen", n)
		}
	}
	chosen(b, "box")
	b.want(200, "as this box has it: hidden from POP3", "!what it has fetched")
	stays := d.auth.stays("bob", "")
	for word, told := range map[string]string{"delete": "is gone, for all other programs as well.", "trash": "is moved to the folder Trash.", "archive": "is moved to the folder Archive.", "hide": "is hidden from POP3",
		"box": "is as this box has it: hidden from POP3, and kept in the INBOX for all others."} {
		b.post("/me/pop3", "on_delete", word)
		b.want(303, "Location: /me")
		b.get("/me")
		b.want(200, "what a POP3 program deletes "+told)
		chosen(b, word)
		if got := d.auth.onDelete("bob", "box"); got != word {
			t.Errorf("%q is kept as %q", word, got)
		}
		chosen(alice, "box")
	}
	if !stays() {
		t.Error("the choice has ended a login")
	}
	b.post("/me/pop3", "on_delete", "archive")
	for _, word := range []string{"", "hidden", "trash x=y", "trash\nmallory:x", "Trash"} {
		b.post("/me/pop3", "on_delete", word)
		b.want(422, "none of the ways")
	}
	b.post("/me/pop3")
	b.want(422, "none of the ways")
	b.post("/me/pop3", "token", "another's", "on_delete", "delete")
	b.want(403, "too old")
	b.headers = []string{"Origin", "https://evil.example"}
	b.get("/me")
	b.post("/me/pop3", "on_delete", "delete")
	b.want(403, "comes from another page")
	stranger := newWebBrowserTest(t, d)
	stranger.get("/login")
	stranger.post("/me/pop3", "on_delete", "delete")
	stranger.want(303, "Location: /login")
	b.headers = nil
	chosen(b, "archive")
	d.onDelete, d.popDays = "delete", 14 // a reload
	chosen(b, "archive")
	b.want(200, "as this box has it: gone, for all", "goes the same way after 14 days")
	d.listening = func() []webService { return nil }
	b.get("/me")
	b.want(200, "!POP3")
}

func TestWebAdmin(t *testing.T) {
	d := webUsersTest(t, nil)
	b := newWebBrowserTest(t, d).login("alice", "secret")
	b.get("/admin")
	b.want(200, "alice", "administrator", "bob", "family", "alice, bob")
	if _, err := os.Stat(d.mailRoot("bob")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking at bob's mail makes some: %v", err)
	}
	for _, test := range []struct{ name, new, again, want string }{
		{"carol", "short", "short", "too short"},
		{"carol", "long enough", "other enough", "differ"},
		{"../carol", "long enough", "long enough", "may be in it"},
		{"carol:x", "long enough", "long enough", "may be in it"},
		{"Bob", "long enough", "long enough", "exists already"},
		{"", "long enough", "long enough", "1 to 64 bytes"},
	} {
		b.post("/admin/user/add", "name", test.name, "new", test.new, "again", test.again)
		b.want(422, test.want)
	}
	b.post("/admin/user/add", "name", "Carol", "new", "long enough", "again", "long enough")
	b.want(303, "Location: /admin")
	b.get("/admin")
	b.want(200, "carol can log in now")
	carol := newWebBrowserTest(t, d).login("carol", "long enough")
	_, err := d.store.tree("carol") // as her first mail makes it
	must(t, err)
	b.get("/admin/user?name=carol")
	b.want(200, "Remove the user", "Log")
	b.post("/admin/user/password", "name", "carol", "new", "another one", "again", "another one")
	b.want(303, "Location: /admin")
	carol.get("/me")
	carol.want(303, "Location: /login")
	carol.login("carol", "another one")
	b.post("/admin/user/password", "name", "alice", "new", "another one", "again", "another one")
	b.want(422, "Your own password")
	b.post("/admin/user/password", "name", "nobody", "new", "another one", "again", "another one")
	b.want(404)
	b.post("/admin/user/remove", "name", "carol", "confirm", "carl")
	b.want(422, "not typed again")
	b.post("/admin/user/remove", "name", "alice", "confirm", "alice")
	b.want(422, "cannot remove yourself")
	b.post("/admin/user/remove", "name", "../alice", "confirm", "../alice")
	b.want(404)
	b.post("/admin/user/remove", "name", "carol", "confirm", "carol")
	b.want(303, "Location: /admin")
	b.get("/admin")
	b.want(200, "The mail is kept", "!<bdi>carol</bdi>")
	carol.get("/me")
	carol.want(303, "Location: /login")
	if _, err := os.Stat(d.mailRoot("carol")); err != nil {
		t.Errorf("carol's mail: %v", err)
	}
	b.get("/admin/user?name=alice")
	b.want(200, "This is you", "!Remove the user")
	b.get("/admin/health")
	b.want(200, "set it")
	d.findings, d.found.at = func() []webFinding { return nil }, time.Time{}
	b.get("/admin/health")
	b.want(200, "All is well")
	d.admins = nil // a reload
	b.get("/admin")
	b.want(403)
}

// mailRoot is where a user's mail lies.
func (d *webDoor) mailRoot(user string) string { return filepath.Join(d.store.root, user) }

func TestWebDevices(t *testing.T) {
	var d webDevices
	at := time.Unix(1764000000, 0)
	tell := func(what, user, door, from, app, text string) {
		at = at.Add(time.Minute)
		d.told(logFact{what: what, at: at, user: user, door: door, from: from, app: app, text: text})
	}
	tell("login", "alice", "imaps", "192.168.1.7", "", "")
	tell("client", "alice", "imaps", "192.168.1.7", "", "Thunderbird 140")
	tell("login", "alice", "imap", "192.168.1.7", "", "")
	tell("login", "alice", "imaps", "192.168.1.7", "Phone", "")
	tell("login", "alice", "submissions", "fd00::1:2:3:4:5", "", "")
	tell("login", "alice", "submissions", "fd00::1:6:7:8:9", "", "")
	tell("login", "bob", "pop3", "unix socket", "", "")
	tell("login", "bob", "lmtp", "192.168.1.7", "", "")
	tell("client", "carol", "imap", "192.168.1.7", "", "nobody knows her")
	var got []string
	for _, dev := range append(d.of("alice"), d.of("bob")...) {
		got = append(got, fmt.Sprint(dev.protocol, " ", dev.from, " ", dev.app, " ", dev.client))
	}
	want := "SMTP fd00::1:0:0:0:0/64  |IMAP 192.168.1.7 Phone |IMAP 192.168.1.7  Thunderbird 140|POP3 unix socket  "
	want = strings.Replace(want, "fd00::1:0:0:0:0/64", netip.MustParsePrefix("fd00:0:0:1::/64").String(), 1)
	if strings.Join(got, "|") != want {
		t.Errorf("%q\nwant\n%q", strings.Join(got, "|"), want)
	}
	text := d.text()
	if d.text() != nil {
		t.Error("it is to be written again")
	}
	if d.unwritten(); string(d.text()) != string(text) {
		t.Error("it is not to be written again")
	}
	var again webDevices
	again.read(append(text, "torn \"line\n1 2 \"x\" \"y\n1 2 \"\" \"\" \"\" \"\" \"\"\n"...))
	if again.changed = true; string(again.text()) != string(text) {
		t.Errorf("%s\nwant\n%s", again.text(), text)
	}
	for i := range 3 * webDevicesMost {
		tell("login", fmt.Sprint("user", i/50), "imap", fmt.Sprint("10.0.", i/250, ".", i%250), "", "")
	}
	if len(d.all) != webDevicesMost || len(d.of("user29")) != webDevicesUser {
		t.Errorf("%d devices, %d of one", len(d.all), len(d.of("user29")))
	}
}

func FuzzWebDevices(f *testing.F) {
	f.Add("1 2 \"alice\" \"IMAP\" \"192.168.1.7\" \"Phone\" \"Mail \\u00fc\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		var d, again webDevices
		d.read([]byte(text))
		d.changed = true
		written := d.text()
		again.read(written)
		again.changed = true
		if string(again.text()) != string(written) {
			t.Errorf("%q, then %q", written, again.text())
		}
	})
}

func FuzzWebAutodiscover(f *testing.F) {
	f.Add(fmt.Sprintf(webOutlookAsks, "alice@example.org", webAutodiscoverResponse))
	f.Add("<a><b></a>")
	f.Fuzz(func(t *testing.T, text string) {
		if email, _, ok := webAutodiscoverRead(strings.NewReader(text)); ok && email != strings.TrimSpace(email) {
			t.Errorf("%q", email)
		}
	})
}

func TestWebEvents(t *testing.T) {
	var e webEvents
	for i := range webEventsMost + 50 {
		e.told(logFact{what: "refused", how: fmt.Sprint("RCPT ", i), text: strings.Repeat("long ", 1000)})
	}
	list := e.last()
	if len(list) != webEventsMost || list[0].Text != fmt.Sprint("RCPT ", webEventsMost+49) || list[webEventsMost-1].Text != "RCPT 50" || len(list[0].Why) > webEventText+3 {
		t.Errorf("%d: %+v ... %+v", len(list), list[0], list[len(list)-1])
	}
	e = webEvents{}
	e.told(logFact{what: "delivered", to: "alice", size: 10})
	if got := e.last(); len(got) != 1 || got[0].Text != "<> → alice" || !got[0].Good {
		t.Errorf("%+v", got)
	}
}

func TestWebBrowser(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                            "Chrome on Android",
		"curl/7.88.1": "a browser",
		"":            "a browser",
	} {
		if got := webBrowser(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}

// What is told of logins comes from the doors, and is there again after a restart.
func TestWebLoginsKept(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	s, _ := serverTest(t, c, nil)
	pop := serverDial(t, s.address(t, "pop3"), nil)
	pop.ask(t, "", "+OK")
	pop.ask(t, "USER alice", "+OK")
	pop.ask(t, "PASS secret", "+OK")
	imap := serverDial(t, s.address(t, "imap"), nil)
	imap.ask(t, "a LOGIN alice secret", "a OK")
	imap.ask(t, `b ID ("name" "Thunderbird" "version" "140")`, "b OK")
	smtp := serverDial(t, s.address(t, "smtp"), nil)
	smtp.ask(t, "EHLO x", "250 ")
	smtp.ask(t, "MAIL FROM:<printer@example.org>", "250")
	smtp.ask(t, "RCPT TO:<alice>", "250")
	smtp.ask(t, "DATA", "354")
	smtp.ask(t, "Subject: x\r\n\r\nhello\r\n.", "250")
	if events := s.web.events.last(); len(events) != 1 || events[0].What != "delivered" || events[0].From != "127.0.0.1" {
		t.Errorf("%+v", events)
	}
	s.shutdown(t.Context())
	again, _ := serverTest(t, c, nil)
	devices := again.web.devices.of("alice")
	slices.SortFunc(devices, func(a, b webDevice) int { return strings.Compare(a.protocol, b.protocol) })
	if len(devices) != 2 || devices[0].protocol != "IMAP" || devices[0].client != "Thunderbird 140" || devices[1].protocol != "POP3" || devices[1].from != "127.0.0.1" {
		t.Errorf("%+v", devices)
	}
}

// A look at the health reads all folders, so impatience gets the last one, for a minute.
func TestWebHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		d := webUsersTest(t, func(s *webSettings) {
			s.findings = func() []webFinding { looks++; return []webFinding{{fmt.Sprint("look ", looks), ""}} }
		})
		b := newWebBrowserTest(t, d).login("alice", "secret")
		for _, test := range []struct {
			after time.Duration
			want  string
		}{{0, "look 1<"}, {time.Second, "look 1<"}, {webFoundTime - 2*time.Second, "look 1<"}, {time.Second, "look 2<"}} {
			time.Sleep(test.after)
			b.get("/admin/health")
			b.want(200, test.want)
		}
		changed := d.webSettings // and a configuration is looked at anew
		b.d = newWebDoor(d.state, changed)
		b.get("/admin/health")
		b.want(200, "look 3<")
	})
}

// Who has left gets no mail counted.
func TestWebGone(t *testing.T) {
	d := webUsersTest(t, nil)
	b := newWebBrowserTest(t, d).login("alice", "secret")
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, path := range []string{"/me", "/admin"} {
		r := httptest.NewRequestWithContext(gone, "GET", "https://pi.local"+path, nil)
		r.RemoteAddr = "192.168.1.7:1"
		r.AddCookie(&http.Cookie{Name: webCookie, Value: b.cookies[webCookie]})
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Body.Len() > 0 {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// While it cannot be told whether a user is still there, nobody is logged in.
func TestWebUsersUnreadable(t *testing.T) {
	d := webUsersTest(t, nil)
	b := newWebBrowserTest(t, d).login("alice", "secret")
	path := d.auth.settings.path
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o700))
	word, _ := d.state.sessions.begin("alice", d.auth.passwordStamp("alice"))
	b.cookies[webCookie] = word
	b.get("/me")
	b.want(303, "Location: /login")
}
