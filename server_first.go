package main

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// serverFirstLogin is the file that tells the first user's password where nobody is
// looking on. The first login with it removes the file.
func serverFirstLogin(users string) string {
	return filepath.Join(filepath.Dir(users), "first-login.txt")
}

// firstUser makes a user if there is none, so that the box can be used at once.
func (s *server) firstUser(c *config) error {
	names, err := authList(s.users)
	if err != nil {
		return fmt.Errorf("reading the users: %w", err)
	}
	if len(names) > 0 {
		return nil
	}
	name, password := serverFirstName(), authRandomPassword()
	text := s.firstWords(c, name, password)
	// The words go first: a user whose password nobody knows would be of no use.
	file := serverFirstLogin(s.users)
	seen, err := s.welcome(text + serverPageQR(c))
	if err != nil {
		return err
	}
	if !seen {
		if err := fileReplace(file, []byte(text), 0o600); err != nil {
			return serverPathError("writing", file, err)
		}
	}
	if err := authAdd(s.users, name, password); err != nil {
		return serverPathError("making the first user in", s.users, err)
	}
	if seen {
		file = ""
	}
	logServerFirstUser(s.log, name, s.users, file)
	return nil
}

// serverFirstName is the name of the first user: the person who starts the program.
func serverFirstName() string {
	if name, err := authName(os.Getenv("SUDO_USER")); err == nil && name != "root" {
		return name
	}
	const firstPerson, nobody = 1000, 65534
	if uid := os.Getuid(); uid >= firstPerson && uid != nobody {
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			if name, err := authName(u.Username); err == nil {
				return name
			}
		}
	}
	return "admin"
}

// firstWords is what to type into a mail program.
func (s *server) firstWords(c *config, name, password string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Letterbox has made its first user. Type this into a mail program:\n\n")
	fmt.Fprintf(&b, "    user name    %s\n    password     %s\n    mail address %s@%s\n", name, password, name, serverMailDomain(c))
	host := serverPageHost(c)
	for _, line := range []struct {
		what, secure, plain string
		implicit, starttls  []string
	}{
		{"IMAP", "SSL/TLS", "STARTTLS", c.listen.imaps, c.listen.imap},
		{"POP3", "SSL/TLS", "STARTTLS", c.listen.pop3s, c.listen.pop3},
		{"SMTP", "SSL/TLS", "STARTTLS", c.listen.submissions, c.listen.submission},
	} {
		if port := serverFirstPort(line.implicit); port != "" {
			fmt.Fprintf(&b, "    %s server  %s, port %s, %s\n", line.what, host, port, line.secure)
		} else if port := serverFirstPort(line.starttls); port != "" {
			fmt.Fprintf(&b, "    %s server  %s, port %s, %s\n", line.what, host, port, line.plain)
		}
	}
	if page := serverPageURL(c); page != "" {
		fmt.Fprintf(&b, "\nOr open %s on the device, which does most of it.\n", page)
	}
	if addrs := serverOwnAddresses(); len(addrs) > 0 {
		fmt.Fprintf(&b, "\nIf %s is not found, one of these will do in its place: %s, or localhost on this box.\n", host, strings.Join(addrs, ", "))
	}
	if path, fingerprint := s.certs.caFile(); path != "" {
		fmt.Fprintf(&b, "\nThe certificate is this box's own. Devices that shall trust it get %s, with the fingerprint (SHA-256)\n%s\n", path, fingerprint)
	}
	fmt.Fprintf(&b, "\nMore users: letterbox user add NAME. Another password: letterbox user passwd %s\n", name)
	return b.String()
}

func serverMailDomain(c *config) string {
	if len(c.domains) > 0 {
		return c.domains[0]
	}
	return serverPageHost(c) // programs that look for their settings look there
}

// serverFirstPort is the port of the first address with one.
func serverFirstPort(addresses []string) string {
	for _, address := range addresses {
		if _, port, err := net.SplitHostPort(address); err == nil && !strings.HasPrefix(address, "unix:") {
			return port
		}
	}
	return ""
}

// serverOwnAddresses are the addresses by which others at home reach this box.
func serverOwnAddresses() (addresses []string) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil && ip.IsPrivate() {
			addresses = append(addresses, ip.String())
		}
	}
	return addresses
}
