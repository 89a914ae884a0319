package main

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"
)

// webPasswordLeast is how long a new password must be that is chosen on the page.
const webPasswordLeast = 8

type webLogin struct {
	webPage
	Name string
}

// showLogin shows the form. Its token is in a cookie as well: nobody has a session yet.
func (v *webVisit) showLogin() error {
	if v.session != nil {
		return webGo("/me")
	}
	return v.loginForm(http.StatusOK, "", "")
}

func (v *webVisit) loginForm(status int, name, problem string) error {
	login := webLogin{webPage: v.page("Log in"), Name: name}
	login.Token, login.Problem = webRandom(), problem
	v.setCookie(webCookieLogin, login.Token)
	return v.show(status, "login.html", login)
}

// takeLogin checks the password, as the mail ports do and with their patience.
func (v *webVisit) takeLogin() error {
	user, password := strings.TrimSpace(v.r.PostForm.Get("user")), v.r.PostForm.Get("password")
	name, err := v.auth.loginOwn(v.from, user, password)
	switch {
	case err == nil:
		logLogin(v.log(), name, "page", "")
		logTell(v.log(), logFact{what: "client", user: name, text: webBrowser(v.r.UserAgent())})
		v.beginSession(name)
		return webGo("/me")
	case errors.Is(err, errAuthThrottled):
		logLoginFailed(v.log(), user, "page", err)
		return v.loginForm(http.StatusTooManyRequests, user, "There were too many wrong passwords. Please wait a minute.")
	case errors.Is(err, errAuthFailed):
		logLoginFailed(v.log(), user, "page", err)
		return v.loginForm(http.StatusForbidden, user, "The name or the password is wrong. App passwords are for mail programs, and do not open this page.")
	}
	return err
}

func (v *webVisit) takeLogout() error {
	v.state.sessions.end(v.session)
	v.setCookie(webCookie, "")
	return webGo("/")
}

type webPassword struct {
	webPage
	Least int
}

func (v *webVisit) showPassword() error {
	return v.show(http.StatusOK, "password.html", webPassword{v.page("Password"), webPasswordLeast})
}

// takePassword changes the user's own password. Other browsers have to log in anew.
func (v *webVisit) takePassword() error {
	form := v.r.PostForm
	problem := webPasswordProblem(form.Get("new"), form.Get("again"))
	if problem == "" {
		_, err := v.auth.loginOwn(v.from, v.session.user, form.Get("old"))
		switch {
		case errors.Is(err, errAuthThrottled):
			problem = "There were too many wrong passwords. Please wait a minute."
		case errors.Is(err, errAuthFailed):
			logLoginFailed(v.log(), v.session.user, "page", err)
			problem = "The old password is wrong."
		case err != nil:
			return err
		}
	}
	if problem == "" {
		err := v.auth.setPassword(v.session.user, form.Get("new"))
		if problem = webAuthProblem(err); problem == "" && err != nil {
			return err
		}
	}
	if problem != "" {
		page := webPassword{v.page("Password"), webPasswordLeast}
		page.Problem = problem
		return v.show(http.StatusUnprocessableEntity, "password.html", page)
	}
	logWebChange(v.log(), v.session.user, "password", v.session.user)
	v.beginSession(v.session.user)
	v.state.sessions.say(v.session, "The password is changed. Mail programs that use it need the new one; those with an app password go on.")
	return webGo("/me")
}

// webPasswordProblem says why a new password will not do; "" if it will.
func webPasswordProblem(password, again string) string {
	switch {
	case utf8.RuneCountInString(password) < webPasswordLeast:
		return "The new password is too short: it needs at least 8 characters. A few words are easier to remember than a few signs."
	case password != again:
		return "The two new passwords differ."
	}
	return ""
}

// webAuthProblem says in words for people what the auth room has refused; "" if that is not what happened.
func webAuthProblem(err error) string {
	for _, known := range []error{errAuthPassword, errAuthName, errAuthExists, errAuthNoUser, errAuthAppExists, errAuthAppMost, errAuthAppName, errAuthAppNone} {
		if errors.Is(err, known) {
			text := err.Error()
			return strings.ToUpper(text[:1]) + text[1:] + "."
		}
	}
	return ""
}

// webBrowser names a browser in the words that its owner would use.
func webBrowser(agent string) string {
	find := func(words ...string) string {
		for _, word := range words {
			in, called, ok := strings.Cut(word, "=")
			if !ok {
				called = in
			}
			if strings.Contains(agent, in) {
				return called
			}
		}
		return ""
	}
	browser := find("Firefox", "FxiOS=Firefox", "Edg=Edge", "OPR=Opera", "SamsungBrowser=Samsung Internet", "CriOS=Chrome", "Chrome", "Safari")
	system := find("iPhone", "iPad", "Android", "Windows", "Macintosh=Mac", "CrOS=Chromebook", "Linux")
	switch {
	case browser == "" && system == "":
		return "a browser"
	case browser == "":
		return "a browser on " + system
	case system == "":
		return browser
	}
	return browser + " on " + system
}
