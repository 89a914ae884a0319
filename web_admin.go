package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

type webUsers struct {
	webPage
	Users   []webUserLine
	Aliases []webAlias
	Least   int
}

type webUserLine struct {
	Name    string
	Storage webStorage
	Last    string // login
	Manages bool   // is an administrator
}

type webAlias struct{ Name, To string }

// showUsers lists the users, and the aliases of the configuration.
func (v *webVisit) showUsers() error { return v.usersPage(http.StatusOK, "") }

func (v *webVisit) usersPage(status int, problem string) error {
	names, err := v.auth.users()
	if err != nil {
		return err
	}
	page := webUsers{webPage: v.page("Users"), Least: webPasswordLeast}
	page.Problem = problem
	for _, name := range names {
		if err := v.r.Context().Err(); err != nil { // who waited for it has left
			return err
		}
		page.Users = append(page.Users, v.userLine(name))
	}
	for _, name := range slices.Sorted(maps.Keys(v.aliases)) {
		page.Aliases = append(page.Aliases, webAlias{name, strings.Join(v.aliases[name], ", ")})
	}
	return v.show(status, "users.html", page)
}

// userLine tells of one user. That the mail of one cannot be read must not hide the others.
func (v *webVisit) userLine(name string) webUserLine {
	line := webUserLine{Name: name, Manages: slices.Contains(v.admins, name)}
	var err error
	if line.Storage, err = v.storageOf(name); err != nil && v.r.Context().Err() == nil {
		logCommandFailed(v.log(), name, "the page of users", err)
		line.Storage.Failed = true
	}
	if devices := v.state.devices.of(name); len(devices) > 0 {
		line.Last = v.ago(devices[0].last)
	}
	return line
}

type webUserPage struct {
	webPage
	webUserLine
	Least   int
	Myself  bool
	Devices []webDeviceLine
}

// userNamed gives the user whom a request is about.
func (v *webVisit) userNamed(name string) (string, error) {
	if canonical, err := authName(name); err == nil && v.auth.exists(canonical) {
		return canonical, nil
	}
	return "", webRefusal{http.StatusNotFound, "There is no such user."}
}

// showUser shows one user, and what can be done.
func (v *webVisit) showUser() error {
	name, err := v.userNamed(v.r.URL.Query().Get("name"))
	if err != nil {
		return err
	}
	return v.userPage(http.StatusOK, name, "")
}

func (v *webVisit) userPage(status int, name, problem string) error {
	page := webUserPage{webPage: v.page(name), webUserLine: v.userLine(name), Least: webPasswordLeast, Myself: name == v.session.user}
	page.Problem = problem
	for _, d := range v.state.devices.of(name) {
		page.Devices = append(page.Devices, webDeviceLine{d.protocol, d.from, d.app, d.client, v.ago(d.last)})
	}
	return v.show(status, "user.html", page)
}

// takeUser adds a user.
func (v *webVisit) takeUser() error {
	form := v.r.PostForm
	problem := webPasswordProblem(form.Get("new"), form.Get("again"))
	if problem == "" {
		err := v.auth.addUser(form.Get("name"), form.Get("new"))
		if problem = webAuthProblem(err); problem == "" && err != nil {
			return err
		}
	}
	if problem != "" {
		return v.usersPage(http.StatusUnprocessableEntity, problem)
	}
	name, _ := authName(form.Get("name")) // which addUser has seen to
	logWebChange(v.log(), v.session.user, "user added", name)
	v.state.sessions.say(v.session, name+" can log in now.")
	return webGo("/admin")
}

// takeUserPassword sets a user's password.
func (v *webVisit) takeUserPassword() error {
	form := v.r.PostForm
	name, err := v.userNamed(form.Get("name"))
	if err != nil {
		return err
	}
	problem := webPasswordProblem(form.Get("new"), form.Get("again"))
	if name == v.session.user {
		problem = "Your own password is changed under Password, since the old one is asked for there."
	}
	if problem == "" {
		err := v.auth.setPassword(name, form.Get("new"))
		if problem = webAuthProblem(err); problem == "" && err != nil {
			return err
		}
	}
	if problem != "" {
		return v.userPage(http.StatusUnprocessableEntity, name, problem)
	}
	logWebChange(v.log(), v.session.user, "password", name)
	v.state.sessions.say(v.session, "The password of "+name+" is changed.")
	return webGo("/admin")
}

// takeUserRemoval removes a user whose name was typed again. The mail stays.
func (v *webVisit) takeUserRemoval() error {
	form := v.r.PostForm
	name, err := v.userNamed(form.Get("name"))
	if err != nil {
		return err
	}
	problem := ""
	if name == v.session.user {
		problem = "You cannot remove yourself."
	} else if strings.TrimSpace(form.Get("confirm")) != name {
		problem = "Nothing was removed: the name was not typed again as it is."
	}
	if problem == "" {
		err := v.auth.deleteUser(name)
		if problem = webAuthProblem(err); problem == "" && err != nil {
			return err
		}
	}
	if problem != "" {
		return v.userPage(http.StatusUnprocessableEntity, name, problem)
	}
	v.state.devices.forget(name)
	logWebChange(v.log(), v.session.user, "user removed", name)
	v.state.sessions.say(v.session, name+" cannot log in any more. The mail is kept.")
	return webGo("/admin")
}

type webEventsPage struct {
	webPage
	Events []webEventLine
	Most   int
}

type webEventLine struct {
	webEvent
	When string
}

// showEvents lists what has come in and what was refused.
func (v *webVisit) showEvents() error {
	page := webEventsPage{webPage: v.page("Activity"), Most: webEventsMost}
	for _, e := range v.state.events.last() {
		page.Events = append(page.Events, webEventLine{e, v.ago(e.At)})
	}
	return v.show(http.StatusOK, "events.html", page)
}

type webHealth struct {
	webPage
	Findings []webFinding
}

// webFound is what was wrong when this box was last looked at.
type webFound struct {
	mu       sync.Mutex // held while it is looked at, guards all below
	findings []webFinding
	at       time.Time
}

const webFoundTime = time.Minute // which a look lasts: all folders of all users are read for it

// look gives what is wrong; nobody is told while it is locked.
func (f *webFound) look(find func() []webFinding) []webFinding {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.IsZero() || time.Since(f.at) >= webFoundTime {
		f.findings, f.at = find(), time.Now()
	}
	return f.findings
}

// showHealth lists what letterbox check finds.
func (v *webVisit) showHealth() error {
	return v.show(http.StatusOK, "health.html", webHealth{v.page("Health"), v.found.look(v.findings)})
}
