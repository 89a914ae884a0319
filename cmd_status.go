package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

func cmdStatusFlags(line *cmdLine, flags *flag.FlagSet) {
	flags.BoolVar(&line.json, "json", false, "")
}

// cmdStatus tells what the running server does. Without one, it tells what the files say, and fails.
func cmdStatus(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	c, err := line.load()
	if err != nil {
		return err
	}
	st, err := serverAskStatus(c)
	if errors.Is(err, fs.ErrNotExist) {
		st = serverFileStatus(c, cmdVersionText(), cmdFindings(c))
	} else if err != nil {
		return err
	}
	if line.json {
		text, err := json.MarshalIndent(st, "", "  ")
		if err == nil {
			_, err = fmt.Fprintf(line.stdout, "%s\n", text)
		}
		if err != nil {
			return err
		}
	} else if err := cmdStatusShow(line.stdout, st); err != nil {
		return err
	}
	if !st.Running {
		return errCmdFindings
	}
	return nil
}

// cmdStatusShow tells it to people.
func cmdStatusShow(w io.Writer, st *serverStatus) error {
	var b strings.Builder
	if st.Running {
		fmt.Fprintf(&b, "Letterbox %s on %s, running for %s (since %s)\n", st.Version, st.Hostname,
			cmdStatusTime(st.Uptime), st.Started.Local().Format("2006-01-02 15:04"))
	} else {
		fmt.Fprintf(&b, "The server is not running. This is what the files say.\nLetterbox %s on %s\n", st.Version, st.Hostname)
	}
	fmt.Fprintf(&b, "configuration  %s\n", st.Config)
	if st.Certificate != nil {
		fmt.Fprintf(&b, "certificate    until %s\n", st.Certificate.Local().Format(time.DateOnly))
	}
	if st.Running {
		fmt.Fprintf(&b, "in memory      %d folders, %d messages\n\n", st.Mailboxes, st.Messages)
		fmt.Fprintf(&b, "%-20s %10s %12s %10s\n", "connections", "now", "since start", "refused")
		for _, one := range st.Services {
			fmt.Fprintf(&b, "  %-18s %10d %12d %10d\n", one.Name, one.Open, one.Total, one.Refused)
		}
		fmt.Fprintf(&b, "\n%-20s %10s %12s\n", "mail", "24 hours", "since start")
		cmdStatusRow(&b, "delivered", fmt.Sprint(st.Day.Delivered), fmt.Sprint(st.Start.Delivered))
		cmdStatusRow(&b, "", cmdStatusSize(int64(st.Day.Bytes)), cmdStatusSize(int64(st.Start.Bytes)))
		for _, kind := range []struct {
			what     string
			day, all map[string]uint64
		}{{"not delivered, ", st.Day.NotDelivered, st.Start.NotDelivered}, {"refused, ", st.Day.Refused, st.Start.Refused},
			{"login, ", st.Day.Logins, st.Start.Logins}, {"login failed, ", st.Day.LoginsFailed, st.Start.LoginsFailed}} {
			for _, name := range serverNamesOf(kind.all) {
				cmdStatusRow(&b, kind.what+name, fmt.Sprint(kind.day[name]), fmt.Sprint(kind.all[name]))
			}
		}
	}
	fmt.Fprintf(&b, "\n%-20s %10s %12s %12s\n", "users", "messages", "size", "allowed")
	for _, u := range st.Users {
		if u.Problem != "" {
			fmt.Fprintf(&b, "  %-18s %s\n", u.Name, u.Problem)
			continue
		}
		var allowed []string
		if u.QuotaBytes > 0 {
			allowed = append(allowed, cmdStatusSize(u.QuotaBytes))
		}
		if u.QuotaMessages > 0 {
			allowed = append(allowed, fmt.Sprint(u.QuotaMessages, " messages"))
		}
		fmt.Fprintf(&b, "  %-18s %10d %12s %12s\n", u.Name, u.Messages, cmdStatusSize(u.Bytes), strings.Join(allowed, ", "))
	}
	fmt.Fprintf(&b, "\nfindings: %d\n", len(st.Findings))
	for _, f := range st.Findings {
		fmt.Fprintf(&b, "  %s\n", f.What)
		if f.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", f.Hint)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cmdStatusRow(b *strings.Builder, what, day, all string) {
	fmt.Fprintf(b, "  %-18s %10s %12s\n", what, day, all)
}

// cmdStatusTime says how long something takes, in its two largest parts.
func cmdStatusTime(seconds int64) string {
	days, hours, minutes := seconds/86400, seconds/3600%24, seconds/60%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %d s", minutes, seconds%60)
	}
	return fmt.Sprintf("%d s", seconds)
}

// cmdStatusSize says how many bytes, in the unit that fits.
func cmdStatusSize(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	size, unit := float64(bytes)/1024, 0
	for size >= 1023.95 && unit < 3 {
		size /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %s", size, []string{"KiB", "MiB", "GiB", "TiB"}[unit])
}
