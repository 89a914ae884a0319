package main

import (
	"cmp"
	"net/http"
	"strings"
	"time"
)

// webStorage is what a user's mail takes.
type webStorage struct {
	Folders         []webFolder
	Messages, Bytes int64
	Limit           int64 // bytes; 0: none
	LimitMessages   int64
	Share           int // of the limit, in percent
	Failed          bool
}

// Limits says how much mail there may be.
func (s webStorage) Limits() string {
	var limits []string
	if s.Limit > 0 {
		limits = append(limits, webBytes(s.Limit))
	}
	if s.LimitMessages > 0 {
		limits = append(limits, webPlural(s.LimitMessages, "message", "messages"))
	}
	return cmp.Or(strings.Join(limits, ", "), "none")
}

type webFolder struct {
	Name, Use       string
	Messages, Bytes int64
}

// storageOf asks the store.
func (v *webVisit) storageOf(user string) (s webStorage, err error) {
	v.state.counting.Lock()
	defer v.state.counting.Unlock()
	if err := v.r.Context().Err(); err != nil { // who waited has left
		return s, err
	}
	folders, err := v.store.storage(user)
	if err != nil {
		return s, err
	}
	for _, f := range folders {
		s.Folders = append(s.Folders, webFolder{f.name, f.use, f.messages, f.bytes})
		s.Messages += f.messages
		s.Bytes += f.bytes
	}
	limits := v.store.limitsOf(user)
	s.Limit, s.LimitMessages = limits.bytes, limits.messages
	for _, share := range [][2]int64{{s.Bytes, s.Limit}, {s.Messages, s.LimitMessages}} {
		if share[1] > 0 {
			s.Share = max(s.Share, int(min(100, share[0]*100/share[1])))
		}
	}
	return s, nil
}

type webMe struct {
	webPage
	Storage  webStorage
	Address  string
	OnDelete string
	POP3     bool
}

// showMe tells a user what the mail takes, and what POP3 does.
func (v *webVisit) showMe() error {
	storage, err := v.storageOf(v.session.user)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "me.html", webMe{webPage: v.page("Your mail"), Storage: storage, Address: v.address(v.session.user),
		OnDelete: v.onDelete, POP3: v.port("pop3") != "" || v.port("pop3s") != ""})
}

type webDevicesPage struct {
	webPage
	Apps     []webApp
	Devices  []webDeviceLine
	Made     string // the name of an app password that was just made
	Password string // and itself
	Most     int
}

type webApp struct{ Name, Made, Last string }

type webDeviceLine struct{ Protocol, From, App, Client, Last string }

// showDevices lists a user's app passwords, and who has logged in.
func (v *webVisit) showDevices() error {
	return v.devicesPage(http.StatusOK, func(*webDevicesPage) {})
}

func (v *webVisit) devicesPage(status int, change func(p *webDevicesPage)) error {
	apps, err := v.auth.apps(v.session.user)
	if err != nil {
		return err
	}
	page := webDevicesPage{webPage: v.page("Devices"), Most: authAppMost}
	devices := v.state.devices.of(v.session.user)
	for _, d := range devices {
		page.Devices = append(page.Devices, webDeviceLine{d.protocol, d.from, d.app, d.client, v.ago(d.last)})
	}
	for _, app := range apps {
		line := webApp{Name: app.name, Made: app.made}
		for _, d := range devices {
			if d.app == app.name {
				line.Last = v.ago(d.last)
				break
			}
		}
		page.Apps = append(page.Apps, line)
	}
	change(&page)
	return v.show(status, "devices.html", page)
}

// takeApp makes an app password, and shows it this once.
func (v *webVisit) takeApp() error {
	name, err := authAppClean(v.r.PostForm.Get("name"))
	password := ""
	if err == nil {
		password, err = v.auth.addApp(v.session.user, name, v.now())
	}
	if problem := webAuthProblem(err); problem != "" {
		return v.devicesPage(http.StatusUnprocessableEntity, func(p *webDevicesPage) { p.Problem = problem })
	} else if err != nil {
		return err
	}
	logWebChange(v.log(), v.session.user, "app password made", name)
	return v.devicesPage(http.StatusOK, func(p *webDevicesPage) { p.Made, p.Password = name, password })
}

func (v *webVisit) takeAppRemoval() error {
	name := v.r.PostForm.Get("name")
	err := v.auth.dropApp(v.session.user, name)
	if problem := webAuthProblem(err); problem != "" {
		return v.devicesPage(http.StatusUnprocessableEntity, func(p *webDevicesPage) { p.Problem = problem })
	} else if err != nil {
		return err
	}
	logWebChange(v.log(), v.session.user, "app password removed", name)
	v.state.sessions.say(v.session, "The password of “"+webClean(name, authAppName)+"” lets nobody in any more, and whoever is connected with it is sent away.")
	return webGo("/me/devices")
}

// ago says how long something is past, in a word or two.
func (v *webVisit) ago(at time.Time) string {
	past := time.Since(at)
	switch {
	case past < 0 || past > 60*24*time.Hour:
		return at.Format("2 January 2006")
	case past < 2*time.Minute:
		return "just now"
	case past < 2*time.Hour:
		return webPlural(int64(past/time.Minute), "minute", "minutes") + " ago"
	case past < 48*time.Hour:
		return webPlural(int64(past/time.Hour), "hour", "hours") + " ago"
	}
	return webPlural(int64(past/(24*time.Hour)), "day", "days") + " ago"
}
