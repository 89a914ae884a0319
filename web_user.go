package main

import (
	"cmp"
	"net/http"
	"slices"
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
	Storage webStorage
	Address string
	Ways    []webWay
	Days    int64 // until what POP3 has fetched goes the same way; 0: never
	POP3    bool
}

// webWay is what may become of mail that a POP3 program deletes.
type webWay struct {
	Word, Text string
	Chosen     bool
}

// webWays are those that one can choose. The first leaves it to the configuration, and its text goes on with that.
var webWays = []webWay{
	{Word: "box", Text: "as this box has it: "},
	{Word: "hide", Text: "hidden from POP3, and kept in the INBOX for all others"},
	{Word: "trash", Text: "moved to the folder Trash"},
	{Word: "archive", Text: "moved to the folder Archive"},
	{Word: "delete", Text: "gone, for all other programs as well"},
}

// ways marks what the user has chosen.
func (v *webVisit) ways() []webWay {
	ways, own := slices.Clone(webWays), v.auth.onDelete(v.session.user, "box")
	for i := range ways {
		ways[i].Chosen = ways[i].Word == own
		if ways[i].Word == v.onDelete {
			ways[0].Text += ways[i].Text
		}
	}
	return ways
}

// takeOnDelete keeps what the user wants to become of mail that POP3 programs delete.
func (v *webVisit) takeOnDelete() error {
	word := v.r.PostForm.Get("on_delete")
	i := slices.IndexFunc(webWays, func(way webWay) bool { return way.Word == word })
	if i < 0 {
		return webRefusal{http.StatusUnprocessableEntity, "This is none of the ways to choose from."}
	}
	own := word
	if own == "box" {
		own = ""
	}
	if err := v.auth.chooseOnDelete(v.session.user, own); err != nil {
		return err
	}
	logWebChange(v.log(), v.session.user, "pop3_on_delete", word)
	v.state.sessions.say(v.session, "From its next login on, what a POP3 program deletes is "+v.ways()[i].Text+".")
	return webGo("/me")
}

// showMe tells a user what the mail takes, and what POP3 does.
func (v *webVisit) showMe() error {
	storage, err := v.storageOf(v.session.user)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "me.html", webMe{webPage: v.page("Your mail"), Storage: storage, Address: v.address(v.session.user),
		Ways: v.ways(), Days: int64(v.popDays), POP3: v.port("pop3") != "" || v.port("pop3s") != ""})
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
