package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServerBecome gives up root's rights in a process of its own, since that cannot be undone.
func TestServerBecome(t *testing.T) {
	if name := os.Getenv("LETTERBOX_TEST_BECOME"); name != "" {
		err := serverBecome(name)
		_, closed := os.ReadFile(os.Getenv("LETTERBOX_TEST_CLOSED"))
		fmt.Printf("error %v, uid %d, root again: %v, another's file: %v\n", err, os.Geteuid(), syscall.Setuid(0) == nil, closed == nil)
		os.Exit(0)
	}
	must(t, serverBecome("")) // stays what it is
	closed := filepath.Join(t.TempDir(), "closed")
	must(t, os.WriteFile(closed, []byte("secret"), 0o600))
	for _, c := range []struct{ name, want string }{
		{"nobody", "error <nil>, uid 65534, root again: false, another's file: false"},
		{"root", "error becoming the user root: that is root\nhint: set user to one that may do less"},
		{"no-such-user", "error becoming the user no-such-user: user: unknown user no-such-user\nhint: make it: useradd"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestServerBecome$")
		cmd.Env = append(os.Environ(), "LETTERBOX_TEST_BECOME="+c.name, "LETTERBOX_TEST_CLOSED="+closed)
		out, err := cmd.CombinedOutput()
		if os.Geteuid() != 0 { // it has nothing to give up
			c.want = fmt.Sprintf("error <nil>, uid %d, root again: false, another's file: true", os.Geteuid())
		}
		if must(t, err); !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s: %s, want %s", c.name, out, c.want)
		}
	}
}

// TestServerManager is a service manager that wants signs of life.
func TestServerManager(t *testing.T) {
	if m, err := serverFindManager(func(string) string { return "" }); m != nil || err != nil {
		t.Fatalf("%v, %v", m, err)
	}
	var none *serverManager
	none.tell("READY=1")
	none.watch(nil)

	dir, err := os.MkdirTemp("", "lb") // a socket's path must be short
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notify")
	env := map[string]string{"NOTIFY_SOCKET": path}
	if _, err := serverFindManager(func(key string) string { return env[key] }); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") {
		t.Errorf("nobody listens: %v", err)
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer socket.Close()
	hear := func() string {
		b := make([]byte, 100)
		must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, err := socket.Read(b)
		must(t, err)
		return string(b[:n])
	}
	for _, c := range []struct {
		usec, pid string
		every     time.Duration
		fails     bool
	}{
		{"", "", 0, false}, {"120000000", "", time.Minute, false}, {"2000", fmt.Sprint(os.Getpid()), time.Millisecond, false},
		{"2000", "1", 0, false}, {"0", "", 0, true}, {"soon", "", 0, true},
	} {
		env["WATCHDOG_USEC"], env["WATCHDOG_PID"] = c.usec, c.pid
		m, err := serverFindManager(func(key string) string { return env[key] })
		if (err != nil) != c.fails || m != nil && m.every != c.every {
			t.Errorf("%+v: %+v, %v", c, m, err)
		}
		if m == nil {
			continue
		}
		if m.tell("READY=1"); hear() != "READY=1" {
			t.Error("READY was not told")
		}
		if m.every == time.Millisecond {
			stuck := make(chan struct{})
			beats := 0
			m.watch(func() {
				if beats++; beats == 3 {
					<-stuck // it is not alive any more
				}
			})
			for range 2 {
				if got := hear(); got != "WATCHDOG=1" {
					t.Errorf("%q", got)
				}
			}
			close(stuck)
			if got := hear(); got != "WATCHDOG=1" { // and then it is again
				t.Errorf("%q", got)
			}
			m.ticker.Stop()
		}
	}
}
