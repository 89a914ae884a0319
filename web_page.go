package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"
)

// webFiles are the templates, the style and the picture.
//
//go:embed web
var webFiles embed.FS

// webTemplates are read when the first visitor comes: most of the time there is none.
var webTemplates = sync.OnceValues(func() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{"bytes": webBytes, "plural": webPlural, "link": webLinkTo}).ParseFS(webFiles, "web/*.html")
})

// webLink is one of the links at the head of a page.
type webLink struct {
	To, Text string
	Here     bool
}

func webLinkTo(to, text, path string) webLink { return webLink{to, text, to == path} }

// webPage is what all pages have.
type webPage struct {
	Title   string
	Box     string // its name
	Path    string
	Login   string // where to log in; "" if that cannot be done
	User    string // who has logged in; "" if nobody has
	Admin   bool
	Token   string // for forms
	Notice  string // what was done
	Problem string // what was not
	Version string
}

func (v *webVisit) page(title string) webPage {
	p := webPage{Title: title, Box: v.boxName(), Version: v.version}
	if v.route != nil {
		p.Path = v.route.path
	}
	if base := v.base("https"); v.r.TLS != nil {
		p.Login = "/login"
	} else if base != "" {
		p.Login = base + "/login"
	}
	if v.session != nil {
		p.User, p.Admin, p.Token, p.Notice = v.session.user, v.isAdmin(), v.session.token, v.state.sessions.takeNotice(v.session)
	}
	return p
}

// show fills a template and sends it.
func (v *webVisit) show(status int, name string, data any) error {
	templates, err := webTemplates()
	if err != nil {
		return fmt.Errorf("reading the templates: %w", err)
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("filling %s: %w", name, err)
	}
	return v.write(status, "text/html; charset=utf-8", b.Bytes())
}

// showFile sends a file that is the same for all. Its name is one of the routes'.
func (v *webVisit) showFile() error {
	name := v.route.path
	body, err := webFiles.ReadFile("web" + name)
	if err != nil {
		return err
	}
	kind := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	v.w.Header().Set("Cache-Control", "max-age=600")
	return v.write(http.StatusOK, kind, body)
}

// webBytes writes a size as people read it.
func webBytes(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	if unit == 0 || size >= 100 {
		return fmt.Sprintf("%.0f %s", size, units[unit])
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", size, units[unit]), ".0 ", " ", 1)
}

// webPlural writes a number of things.
func webPlural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
