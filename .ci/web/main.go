// Command web looks at the page in Debian's Chromium: each page, as wide as a phone and as a desk, light and dark. It
// logs in and does what a user and an administrator do, with scripts switched off. The pictures are to be looked at.
//
//	go run . LETTERBOX WORK
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	password = "correct horse battery"
	longName = "a.very-long-name_of.somebody-who-has-many-names"
)

// box is a Letterbox that runs.
type box struct {
	http, https, smtp, imap string // ports
	process                 *exec.Cmd
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: web LETTERBOX WORK")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Println("not ok web:", err)
		os.Exit(1)
	}
}

func run(program, work string) error {
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	pictures := filepath.Join(work, "pictures")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	b, err := start(program, filepath.Join(work, "box"))
	if err != nil {
		return err
	}
	defer b.stop()
	if err := b.fill(); err != nil {
		return err
	}
	home, err := trust(b, work)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	failed := 0
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			t := &tab{box: b, work: work, home: home, pictures: pictures, width: width, scheme: scheme}
			if err := t.tour(ctx); err != nil {
				return fmt.Errorf("%d %s: %w", width, scheme, err)
			}
			failed += t.failed
		}
	}
	if err := readQR(pictures); err != nil {
		fmt.Println("not ok", err)
		failed++
	} else {
		fmt.Println("ok the QR code on the pictures leads to the page")
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}

// ports gives ports that are free.
func ports(n int) (free []string, err error) {
	for range n {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		free = append(free, port)
	}
	return free, nil
}

// start runs a Letterbox on ports of its own.
func start(program, dir string) (*box, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	free, err := ports(9)
	if err != nil {
		return nil, err
	}
	b := &box{http: free[0], https: free[1], smtp: free[2], imap: free[3]}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`hostname = "pi"
[listen]
http = [":%s"]
https = [":%s"]
smtp = [":%s"]
imap = [":%s"]
imaps = [":%s"]
pop3 = [":%s"]
pop3s = [":%s"]
submission = [":%s"]
submissions = [":%s"]
[pop3]
expire = "2w"
[web]
admins = ["alice"]
[aliases]
family = ["alice", "bob"]
"office@pi.local" = "alice"
[users.alice]
quota = "80KiB"
`, free[0], free[1], free[2], free[3], free[4], free[5], free[6], free[7], free[8])
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	for _, user := range []string{"alice", "bob", longName} {
		add := exec.Command(program, "user", "add", user, "-config", config)
		add.Stdin = strings.NewReader(password + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w", out, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "data/mail/former/cur"), 0o700); err != nil { // something for the page of findings
		return nil, err
	}
	b.process = exec.Command(program, "-config", config)
	said := &bytes.Buffer{}
	b.process.Stderr = said
	if err := b.process.Start(); err != nil {
		return nil, err
	}
	for range 600 {
		if c, err := net.Dial("tcp", "localhost:"+b.https); err == nil {
			c.Close()
			return b, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.stop()
	return nil, fmt.Errorf("it does not start:\n%s", said)
}

func (b *box) stop() {
	if err := b.process.Process.Signal(syscall.SIGTERM); err == nil {
		_ = b.process.Wait() // by a signal is no error here
	}
}

// fill has devices send mail and programs log in, well and badly.
func (b *box) fill() error {
	send := func(from, to string) error { // in clear, as a printer does
		c, err := smtp.Dial("localhost:" + b.smtp)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := errors.Join(c.Mail(from), c.Rcpt(to)); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, "Subject: x\r\n\r\n"+strings.Repeat("All is well with the disk.\r\n", 300)); err != nil {
			return err
		}
		return w.Close()
	}
	for range 7 {
		if err := send("nas@home", "alice"); err != nil {
			return err
		}
	}
	if err := errors.Join(send("a.very.long.name.of.a.camera.in.the.garden@cameras.home.example", "family"), send("", "bob")); err != nil {
		return err
	}
	for _, to := range []string{"nobody@pi.local", "someone@example.org", "alice"} {
		if err := send("nas@home", to); err == nil && to != "alice" {
			return fmt.Errorf("mail to %s was taken", to)
		}
	}
	c, err := net.Dial("tcp", "localhost:"+b.imap)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i, command := range []string{"LOGIN alice wrong", `LOGIN alice "` + password + `"`, `ID ("name" "Thunderbird" "version" "140.4.0")`,
		`CREATE "<b>Photos</b> &- such"`, `CREATE "A folder with a name that is so long that it cannot stand in one line of a phone"`, "LOGOUT"} {
		fmt.Fprintf(c, "t%d %s\r\n", i, command)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			if strings.HasPrefix(line, fmt.Sprintf("t%d ", i)) {
				if strings.Contains(line, " OK") == (i == 0) {
					return fmt.Errorf("%s: %s", command, line)
				}
				break
			}
		}
	}
	return nil
}

// trust gives a home directory whose owner has installed the CA, as the page says: the browser must be content with it.
func trust(b *box, work string) (home string, err error) {
	home = filepath.Join(work, "home")
	db := filepath.Join(home, ".pki/nssdb")
	if err := os.MkdirAll(db, 0o755); err != nil {
		return "", err
	}
	answer, err := http.Get("http://localhost:" + b.http + "/letterbox.pem")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	ca, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	file := filepath.Join(work, "letterbox.pem")
	if err := os.WriteFile(file, ca, 0o644); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "letterbox", "-i", file}} {
		if out, err := exec.Command("certutil", append([]string{"-d", "sql:" + db}, args...)...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("certutil: %s: %w", out, err)
		}
	}
	return home, nil
}

// tab is one browser that goes through all pages.
type tab struct {
	*box
	work, home    string
	pictures      string
	width         int64
	scheme        string
	failed, taken int
	troubles      []string // what the browser complains of
}

func (t *tab) secure(path string) string { return "https://localhost:" + t.https + path }

// tour sees every page.
func (t *tab) tour(ctx context.Context) error {
	options := []chromedp.ExecAllocatorOption{chromedp.NoFirstRun, chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.ExecPath("chromium"),
		chromedp.UserDataDir(filepath.Join(t.work, fmt.Sprintf("profile-%d-%s", t.width, t.scheme))), chromedp.Env("HOME=" + t.home),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true)}
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded: // as the policy of the page has it
			if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
				t.troubles = append(t.troubles, e.Entry.Text+" "+e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			t.troubles = append(t.troubles, e.ExceptionDetails.Text)
		}
	})
	scheme := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: t.scheme}}
	if err := chromedp.Run(ctx, log.Enable(), emulation.SetDeviceMetricsOverride(t.width, 800, 1, t.width < 600),
		emulation.SetEmulatedMedia().WithFeatures(scheme), emulation.SetScriptExecutionDisabled(true)); err != nil {
		return err
	}
	fill := func(words ...string) (actions []chromedp.Action) {
		for i := 0; i+1 < len(words); i += 2 {
			actions = append(actions, chromedp.SetValue(words[i], words[i+1], chromedp.ByQuery))
		}
		return actions
	}
	press := func(path string) chromedp.Action {
		return chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := chromedp.RunResponse(ctx, chromedp.Click(`form[action="`+path+`"] button`, chromedp.ByQuery))
			return err
		})
	}
	device := fmt.Sprintf("Phone %d %s", t.width, t.scheme)
	carol := fmt.Sprintf("carol%d%s", t.width, t.scheme)
	way, wayTold := "trash", "moved to the folder Trash."
	if t.scheme == "dark" {
		way, wayTold = "box", "as this box has it: hidden from POP3"
	}
	steps := []struct {
		name string
		path string // "": stay
		do   []chromedp.Action
		want string // in the text of the page
	}{
		{"home", "http://localhost:" + t.http + "/", nil, "Trust this box"},
		{"home-open", "", []chromedp.Action{chromedp.Evaluate(`document.querySelectorAll("details").forEach(d => d.open = true)`, nil)}, "letterbox.crt"},
		{"refused", "http://localhost:" + t.http + "/nothing", nil, "There is nothing here"},
		{"login", t.secure("/me"), nil, "User name"},
		{"login-wrong", "", append(fill("#user", "alice", "#password", "wrong"), press("/login")), "is wrong"},
		{"me", "", append(fill("#user", "alice", "#password", password), press("/login")), "Storage"},
		{"me-pop3", "", []chromedp.Action{chromedp.Click(`input[value="`+way+`"]`, chromedp.ByQuery), press("/me/pop3")}, "POP3 program deletes is " + wayTold},
		{"home-user", t.secure("/"), nil, "Log out"},
		{"app-made", t.secure("/me/devices"), append(fill("#name", device), press("/me/apps/add")), "It is shown this once"},
		{"devices", t.secure("/me/devices"), nil, "Thunderbird 140.4.0"},
		{"app-removed", "", []chromedp.Action{press("/me/apps/remove")}, "lets nobody in any more"},
		{"password-wrong", t.secure("/me/password"), append(fill("#old", "wrong", "#new", "long enough", "#again", "long enough"), press("/me/password")), "old password is wrong"},
		{"admin", t.secure("/admin"), nil, longName},
		{"admin-added", "", append(fill("#name", carol, "#new", password, "#again", password), press("/admin/user/add")), carol + " can log in now"},
		{"admin-user", t.secure("/admin/user?name=" + carol), nil, "Remove the user"},
		{"admin-not-removed", "", append(fill("#confirm", "x"), press("/admin/user/remove")), "not typed again"},
		{"admin-removed", "", append(fill("#confirm", carol), press("/admin/user/remove")), "The mail is kept"},
		{"admin-mail", t.secure("/admin/mail"), nil, "delivered"},
		{"admin-health", t.secure("/admin/health"), nil, "there is no user of that name"},
		{"out", t.secure("/"), []chromedp.Action{press("/logout")}, "Log in"},
	}
	for _, step := range steps {
		var actions []chromedp.Action
		if step.path != "" {
			actions = append(actions, chromedp.Navigate(step.path))
		}
		if err := chromedp.Run(ctx, append(actions, step.do...)...); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := t.look(ctx, step.name, step.want); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// measure finds what is wrong with a page: what is wider than the window, what is too small for a finger, and text that
// does not stand out (WCAG 2, level AA).
const measure = `(() => {
	const wrong = [];
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > width) wrong.push("the page is " + document.documentElement.scrollWidth + " wide");
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
	const light = (c) => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
	for (const e of document.querySelectorAll("body *")) {
		const box = e.getBoundingClientRect();
		if (!box.width || !e.checkVisibility() || e.closest("svg")) continue;
		if (box.right > width + 1 || box.left < -1) wrong.push(e.tagName + " leaves the window: " + e.textContent.slice(0, 40));
		if ((e.tagName === "BUTTON" || e.tagName === "INPUT" || e.tagName === "SUMMARY") && (e.closest("label") || e).getBoundingClientRect().height < 32) wrong.push(e.tagName + " is " + box.height + " high: " + e.textContent);
		if (e.tagName === "BUTTON" && box.height > 60) wrong.push("a button is " + box.height + " high: " + e.textContent);
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
		const a = light(parse(getComputedStyle(e).color)), b = light(back(e));
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) wrong.push(e.tagName + " has a contrast of " + contrast.toFixed(1) + ": " + e.textContent.slice(0, 40));
		if (parseFloat(getComputedStyle(e).fontSize) < 13) wrong.push(e.tagName + " is too small: " + e.textContent.slice(0, 40));
	}
	return wrong;
})()`

// look takes a picture and checks the page.
func (t *tab) look(ctx context.Context, name, want string) error {
	t.taken++
	var picture []byte
	var text string
	var wrong []string
	if err := chromedp.Run(ctx, chromedp.Evaluate(`document.body.innerText`, &text), chromedp.Evaluate(measure, &wrong), chromedp.FullScreenshot(&picture, 100)); err != nil {
		return err
	}
	file := fmt.Sprintf("%d-%s-%02d-%s.png", t.width, t.scheme, t.taken, name)
	if err := os.WriteFile(filepath.Join(t.pictures, file), picture, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(t.pictures, strings.TrimSuffix(file, ".png")+".txt"), []byte(text), 0o644); err != nil {
		return err
	}
	if !strings.Contains(text, want) {
		wrong = append(wrong, fmt.Sprintf("it does not say %q but %q", want, text))
	}
	for _, trouble := range t.troubles {
		if !strings.Contains(trouble, "status of 4") { // a refusal is what was asked for
			wrong = append(wrong, trouble)
		}
	}
	t.troubles = nil
	if len(wrong) > 0 {
		t.failed++
		fmt.Printf("not ok %s: %s\n", file, strings.Join(wrong, "; "))
		return nil
	}
	fmt.Println("ok", file)
	return nil
}

// readQR reads the code from the pictures, as a phone does.
func readQR(pictures string) error {
	files, err := filepath.Glob(filepath.Join(pictures, "*-home.png"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no pictures of the first page: %v", err)
	}
	for _, file := range files {
		out, err := exec.Command("zbarimg", "--quiet", "--raw", file).Output()
		if err != nil {
			return fmt.Errorf("no QR code is read from %s: %w", file, err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(file, ".png") + ".txt")
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(out)); !strings.Contains(string(text), "or type "+got) {
			return fmt.Errorf("the QR code of %s says %q", file, got)
		}
	}
	return nil
}
