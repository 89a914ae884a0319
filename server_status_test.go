package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serverTestMetrics reads the text format of Prometheus, strictly: every number belongs to a family whose
// kind and help were told before, families come once and together, and no series comes twice.
func serverTestMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	name := `[a-zA-Z_:][a-zA-Z0-9_:]*`
	label := `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"`
	sample := regexp.MustCompile(`^(` + name + `)(\{` + label + `(?:,` + label + `)*\})? (\S+)$`)
	values, families, family, kind := map[string]float64{}, map[string]bool{}, "", ""
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		fields := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP ") && len(fields) == 4:
			if family = fields[2]; families[family] {
				t.Errorf("%s comes twice", family)
			}
			families[family], kind = true, ""
		case strings.HasPrefix(line, "# TYPE ") && len(fields) == 4 && fields[2] == family && (fields[3] == "counter" || fields[3] == "gauge"):
			if kind = fields[3]; (kind == "counter") != strings.HasSuffix(family, "_total") {
				t.Errorf("%s is a %s", family, kind)
			}
		default:
			m := sample.FindStringSubmatch(line)
			if m == nil || m[1] != family || kind == "" {
				t.Errorf("no line of the text format: %q", line)
				continue
			}
			value, err := strconv.ParseFloat(m[3], 64)
			if _, twice := values[m[1]+m[2]]; err != nil || twice || value < 0 {
				t.Errorf("%q: %v, told before: %v", line, err, twice)
			}
			values[m[1]+m[2]] = value
		}
	}
	return values
}

// What a server has done is told by all three ways.
func TestServerStatus(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.limits.quota = 1 << 20
	path := serverStatusPath(c)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	dead, err := net.Listen("unix", path) // as a server leaves it that is killed
	must(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if _, err := serverAskStatus(c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody listens: %v", err)
	}
	s, _ := serverTest(t, c, func(settings *serverSettings) {
		settings.check = func(*config) []serverFinding { return []serverFinding{{"the roof leaks", "mend it"}} }
	})
	smtp := serverDial(t, s.address(t, "smtp"), nil)
	smtp.ask(t, "", "220 ")
	smtp.ask(t, "HELO nas", "250 ")
	smtp.ask(t, "MAIL FROM:<nas@home>", "250 ")
	smtp.ask(t, "RCPT TO:<nobody-of-that-name>", "550 ")
	smtp.ask(t, "RCPT TO:<alice>", "250 ")
	smtp.ask(t, "DATA", "354 ")
	smtp.ask(t, "Subject: x\r\n\r\nhello\r\n.", "250 ")
	pop := serverDial(t, s.address(t, "pop3"), nil)
	pop.ask(t, "", "+OK")
	pop.ask(t, "USER alice", "+OK")
	pop.ask(t, "PASS wrong", "-ERR")
	pop.ask(t, "USER alice", "+OK")
	pop.ask(t, "PASS secret", "+OK")

	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	st, err := serverAskStatus(c)
	must(t, err)
	for _, totals := range []serverTotals{st.Start, st.Day} {
		got := fmt.Sprint(totals.Delivered, totals.Refused, totals.NotDelivered, totals.Logins, totals.LoginsFailed)
		if want := "1 map[550:1] map[] map[pop3:1] map[pop3:1]"; got != want || totals.Bytes < 20 {
			t.Errorf("%s, %d bytes, want %s", got, totals.Bytes, want)
		}
	}
	open := map[string]int{}
	for _, one := range st.Services {
		open[one.Name] = one.Open
		if want := map[string]uint64{"smtp": 1, "pop3": 1}[one.Name]; one.Total != want || one.Refused != 0 {
			t.Errorf("%+v", one)
		}
	}
	if !st.Running || open["smtp"] != 1 || open["pop3"] != 1 || open["imap"] != 0 || len(open) != 10 {
		t.Errorf("%+v", st)
	}
	if len(st.Users) != 1 || st.Users[0].Name != "alice" || st.Users[0].Messages != 1 || st.Users[0].Bytes < 20 || st.Users[0].QuotaBytes != 1<<20 {
		t.Errorf("%+v", st.Users)
	}
	if st.Mailboxes != 1 || st.Messages != 1 || st.Certificate == nil || st.Certificate.Before(time.Now()) {
		t.Errorf("%+v", st)
	}
	if len(st.Findings) != 1 || st.Findings[0] != (serverStatusFinding{"the roof leaks", "mend it"}) {
		t.Errorf("%+v", st.Findings)
	}
	serverTestPage(t, s)

	var shown bytes.Buffer
	must(t, cmdStatusShow(&shown, st))
	for _, want := range []string{"Letterbox test on pi.example.org, running for ", "smtp                        1            1          0\n",
		"refused, 550                1            1\n", "login failed, pop3          1            1\n", "1.0 MiB\n", "the roof leaks\n  hint: mend it\n"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &shown)
		}
	}
	s.shutdown(t.Context())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// serverTestPage asks for the numbers and the health as a program does.
func serverTestPage(t *testing.T, s *server) {
	t.Helper()
	get := func(path string) (int, string) {
		r, err := http.Get("http://" + s.address(t, "http") + path)
		must(t, err)
		defer r.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(r.Body)
		must(t, err)
		return r.StatusCode, body.String()
	}
	code, text := get("/metrics")
	values := serverTestMetrics(t, text)
	for series, want := range map[string]float64{
		"letterbox_messages_delivered_total": 1, `letterbox_refused_total{code="550"}`: 1, `letterbox_logins_total{service="pop3"}`: 1,
		`letterbox_logins_failed_total{service="pop3"}`: 1, `letterbox_connections{service="smtp"}`: 1, `letterbox_connections_total{service="imaps"}`: 0,
		"letterbox_users": 1, `letterbox_user_messages{user="alice"}`: 1, `letterbox_user_quota_bytes{user="alice"}`: 1 << 20, "letterbox_messages_loaded": 1,
	} {
		if got, ok := values[series]; code != 200 || !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", series, got, ok, want)
		}
	}
	for _, series := range []string{"letterbox_certificate_not_after_seconds", "process_start_time_seconds", "go_goroutines", "go_memstats_sys_bytes", "letterbox_delivered_bytes_total"} {
		if values[series] <= 0 {
			t.Errorf("%s is %v", series, values[series])
		}
	}
	if code, text := get("/healthz"); code != 200 || text != "ok\n" {
		t.Errorf("%d %q", code, text)
	}
}

// Without a server, the files tell what they can.
func TestCmdStatus(t *testing.T) {
	path := cmdTestConfig(t, "[users.alice]\nquota_messages = 1\n")
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	testLayOut(t, filepath.Join(filepath.Dir(path), "data/mail/alice"), map[string]string{"cur/1.M1P1Q1.x,S=2048:2,S": "x", "new/2.M1P1Q1.x,S=1": "x"})
	must(t, os.MkdirAll(filepath.Join(filepath.Dir(path), "data/mail/alice/tmp"), 0o700))
	code, said := cmdTest(t, "", "status", "-config", path)
	for _, want := range []string{"The server is not running.", "  alice                       2      2.0 KiB   1 messages\n", "findings: 1\n  mail of alice: 2 messages, and 1 are allowed\n  hint: "} {
		if code != 1 || !strings.Contains(said, want) {
			t.Errorf("%d, it does not say %q:\n%s", code, want, said)
		}
	}
	code, said = cmdTest(t, "", "status", "-json", "-config", path)
	var st serverStatus
	if err := json.Unmarshal([]byte(said), &st); code != 1 || err != nil || st.Running || len(st.Users) != 1 || st.Users[0].Bytes != 2049 {
		t.Errorf("%d, %v:\n%s", code, err, said)
	}
	if code, said := cmdTest(t, "", "status", "me", "-config", path); code != 2 {
		t.Errorf("%d: %s", code, said)
	}
	for seconds, want := range map[int64]string{5: "5 s", 65: "1 min 5 s", 3700: "1 h 1 min", 90000: "1 d 1 h"} {
		if got := cmdStatusTime(seconds); got != want {
			t.Errorf("%d: %s", seconds, got)
		}
	}
	for size, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 5 << 40: "5.0 TiB", 5 << 50: "5120.0 TiB"} {
		if got := cmdStatusSize(size); got != want {
			t.Errorf("%d: %s", size, got)
		}
	}
}

// The last 24 hours, on a clock that goes as it likes.
func TestServerCounts(t *testing.T) {
	n := newServerCounts()
	for _, step := range []struct {
		hour     int // since the start
		facts    int
		all, day uint64
	}{{0, 1, 1, 1}, {0, 1, 2, 2}, {1, 3, 5, 5}, {23, 1, 6, 6}, {24, 0, 6, 4}, {25, 0, 6, 1}, {46, 2, 8, 3}, {47, 0, 8, 2}, {1000, 1, 9, 1}, {1023, 0, 9, 1}, {1024, 0, 9, 0}, {100000, 0, 9, 0}} {
		at := n.started.Add(time.Duration(step.hour)*time.Hour + time.Minute)
		for range step.facts {
			n.told(logFact{what: "delivered", at: at, size: 10})
		}
		if all, day := n.totals(at); all.Delivered != step.all || day.Delivered != step.day || all.Bytes != 10*step.all || day.Bytes != 10*step.day {
			t.Errorf("hour %d: %d and %d, want %d and %d", step.hour, all.Delivered, day.Delivered, step.all, step.day)
		}
	}
	// Whatever is counted does not grow for ever, and can be written as a label.
	for i := range 10 * serverReasonMost {
		n.told(logFact{what: "refused", at: n.started, text: fmt.Sprintf("%d\"\\\n\xff{} no", i)})
	}
	all, _ := n.totals(n.started)
	if len(all.Refused) != serverReasonMost+1 || all.Refused[serverReasonElse] != 9*serverReasonMost {
		t.Errorf("%d reasons, %d others", len(all.Refused), all.Refused[serverReasonElse])
	}
	m := &serverMetrics{}
	m.counts("x_total", "Help.", "code", all.Refused)
	if values := serverTestMetrics(t, m.b.String()); len(values) != serverReasonMost+1 {
		t.Errorf("%d series", len(values))
	}
	for want, err := range map[string]error{"mailbox full": fmt.Errorf("to alice: %w", errDeliverQuota), "disk full": &fs.PathError{Op: "write", Err: syscall.ENOSPC},
		"not writable": syscall.EROFS, "other": errors.New("x")} {
		if got := serverReason(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// Who may ask for the numbers, and who not, whatever the page is for.
func TestWebWatch(t *testing.T) {
	var ill error
	d := webTest(t, func(settings *webSettings) {
		settings.webWatching = webWatching{watchers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("203.0.113.30/32")},
			metrics: func() string { return "# numbers\n" }, health: func() error { return ill }}
	})
	for _, test := range []struct {
		method, target, from string
		status               int
		want                 string
	}{
		{"GET", "http://localhost/metrics", "127.0.0.1:1", 200, "# numbers\n"},
		{"GET", "http://localhost/healthz", "127.0.0.1:1", 200, "ok\n"},
		{"HEAD", "http://localhost/metrics", "127.0.0.1:1", 200, ""},
		{"GET", "http://localhost/metrics", "@", 200, "# numbers\n"}, // a unix socket
		{"GET", "http://192.168.1.20/metrics", "203.0.113.30:1", 200, "# numbers\n"},
		{"GET", "https://pi.local/metrics", "203.0.113.30:1", 200, "# numbers\n"},
		{"GET", "http://192.168.1.20/", "203.0.113.30:1", 403, ""}, // the page is not for it
		{"GET", "http://192.168.1.20/metrics", "192.168.1.7:1", 403, ""},
		{"GET", "http://192.168.1.20/healthz", "192.168.1.7:1", 403, ""},
		{"GET", "http://192.168.1.20/metrics", "203.0.113.31:1", 403, ""},
		{"GET", "http://evil.example/metrics", "127.0.0.1:1", 421, ""}, // a stranger's page in a browser of this machine
		{"POST", "http://localhost/metrics", "127.0.0.1:1", 405, ""},
		{"GET", "http://localhost/metrics/", "127.0.0.1:1", 404, ""},
		{"GET", "http://localhost//metrics", "127.0.0.1:1", 404, ""},
		{"GET", "http://192.168.1.20/x/../metrics", "192.168.1.7:1", 404, ""},
		{"GET", "http://192.168.1.20/%6detrics", "192.168.1.7:1", 403, ""},
	} {
		w := webAsk(d, test.method, test.target, "", "from", test.from, "X-Forwarded-For", "127.0.0.1", "Forwarded", "for=127.0.0.1")
		body := w.Body.String()
		if w.Code != test.status || test.status == 200 && body != test.want || test.status != 200 && strings.Contains(body, "numbers") {
			t.Errorf("%s %s from %s: %d %q", test.method, test.target, test.from, w.Code, body)
		}
	}
	ill = errors.New("the disk is gone")
	if w := webAsk(d, "GET", "http://localhost/healthz", "", "from", "127.0.0.1:1"); w.Code != 503 || w.Body.String() != "the disk is gone\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
