package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is offered as the answer to each of setup's questions, and what an answer means.

func cmdSetupHostname(s *cmdSetting) string {
	if s.old.hostname != "" {
		return s.old.hostname
	}
	return configHostname()
}

func (s *cmdSetting) takeHostname(answer string) error {
	name := strings.TrimSuffix(strings.ToLower(answer), ".")
	if !configIsHost(name) {
		return fmt.Errorf("%q is no host's name: letters, digits and hyphens, like pi or mail.example.org", answer)
	}
	if !strings.EqualFold(answer, cmdSetupHostname(s)) {
		s.set("", "hostname", name)
	}
	return nil
}

func cmdSetupDomains(s *cmdSetting) string {
	if len(s.old.domains) == 0 {
		return "none"
	}
	return strings.Join(s.old.domains, " ")
}

// cmdSetupList splits what was typed at blanks and commas.
func cmdSetupList(answer string) []string {
	return strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
}

func (s *cmdSetting) takeDomains(answer string) error {
	domains := cmdSetupList(answer)
	if len(domains) == 1 && (domains[0] == "none" || domains[0] == "-") || len(domains) == 0 {
		domains = nil
	}
	for _, domain := range domains {
		if !configIsHost(strings.ToLower(domain)) {
			return fmt.Errorf("%q is no domain; write one like example.org, without an @", domain)
		}
	}
	if !slices.EqualFunc(domains, s.old.domains, strings.EqualFold) {
		s.set("", "domains", domains)
	}
	return nil
}

// cmdSetupTrusted are the words for lists of networks.
var cmdSetupTrusted = map[string][]string{"home": {configLoopback, configPrivate, configInterfaces}, "machine": {configLoopback}}

func cmdSetupTrust(s *cmdSetting) string {
	for word, networks := range cmdSetupTrusted {
		if slices.Equal(networks, s.old.smtp.trustedNetworks) {
			return word
		}
	}
	return strings.Join(s.old.smtp.trustedNetworks, " ")
}

func (s *cmdSetting) takeTrust(answer string) error {
	if answer == cmdSetupTrust(s) {
		return nil
	}
	networks := cmdSetupTrusted[answer]
	if networks == nil {
		networks = cmdSetupList(answer)
		if len(networks) == 0 {
			return errors.New("write home, machine, or networks")
		}
		for _, network := range networks {
			if _, err := configPrefix(network); err != nil && !slices.Contains(configNetworkWords, network) {
				return fmt.Errorf("%q is no network; write home, machine, or networks like 192.168.1.0/24", network)
			}
		}
		if !slices.Contains(networks, configLoopback) { // cron's mail
			networks = append([]string{configLoopback}, networks...)
		}
	}
	s.set("smtp", "trusted_networks", networks)
	if answer != "home" && len(s.old.web.networks) == 0 { // or the page would be for as few
		s.set("web", "networks", cmdSetupTrusted["home"])
	}
	return nil
}

// cmdSetupUsual are the usual ports below 1024; the defaults are those above.
var cmdSetupUsual = map[string]string{"smtp": "25", "submission": "587", "submissions": "465", "pop3": "110", "pop3s": "995",
	"imap": "143", "imaps": "993", "http": "80", "https": "443"}

// cmdSetupPort gives the address with the other port, low or high, and whether it has one of the two.
func cmdSetupPort(key *configKey, address string, low bool) (other string, is string) {
	high := (*key.field(configDefault()).(*[]string))[0][1:]
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.HasPrefix(address, "unix:") {
		return address, ""
	}
	switch port {
	case high:
		is = "high"
	case cmdSetupUsual[key.name]:
		is = "low"
	default:
		return address, ""
	}
	if port = high; low {
		port = cmdSetupUsual[key.name]
	}
	return strings.TrimPrefix(net.JoinHostPort(host, port), "[]"), is
}

// eachListen calls do for each list of addresses that has a usual port.
func (s *cmdSetting) eachListen(do func(key *configKey, addresses []string)) {
	for i := range configKeys {
		if key := &configKeys[i]; key.section == "listen" && cmdSetupUsual[key.name] != "" {
			do(key, *key.field(s.old).(*[]string))
		}
	}
}

func cmdSetupPorts(s *cmdSetting) string {
	if s.fresh {
		if os.Geteuid() == 0 {
			return "low"
		}
		return "high"
	}
	found := map[string]bool{}
	s.eachListen(func(key *configKey, addresses []string) {
		for _, address := range addresses {
			_, is := cmdSetupPort(key, address, false)
			found[is] = true
		}
	})
	switch {
	case len(found) == 1 && found["low"]:
		return "low"
	case len(found) == 1 && found["high"]:
		return "high"
	}
	return "keep"
}

// takePorts changes usual ports into usual ports. Services that are off, and ports of the owner's own, stay.
func (s *cmdSetting) takePorts(answer string) error {
	if answer == "keep" && cmdSetupPorts(s) == "keep" {
		return nil
	}
	if answer != "low" && answer != "high" {
		return errors.New("write low or high")
	}
	s.eachListen(func(key *configKey, addresses []string) {
		var changed []string
		for _, address := range addresses {
			other, _ := cmdSetupPort(key, address, answer == "low")
			changed = append(changed, other)
		}
		if len(changed) > 0 {
			s.set("listen", key.name, changed)
		}
	})
	return nil
}

// cmdSetupData is the directory in which both lie, or "keep" if there is none.
func cmdSetupData(s *cmdSetting) string {
	if s.fresh && os.Geteuid() == 0 {
		return "/var/lib/letterbox"
	}
	path, users := s.old.storage.path, s.old.storage.users
	if filepath.Base(path) == "mail" && filepath.Base(users) == "users" && filepath.Dir(path) == filepath.Dir(users) {
		return filepath.Dir(path)
	}
	return "keep"
}

func (s *cmdSetting) takeData(answer string) error {
	present := cmdSetupData(s)
	if answer == present && !s.fresh {
		return nil
	}
	if answer == "" || answer == "keep" {
		return errors.New("write a directory, like /var/lib/letterbox")
	}
	dir, err := s.directory(answer)
	if err != nil {
		return err
	}
	s.set("storage", "path", filepath.Join(dir, "mail"))
	s.set("storage", "users", filepath.Join(dir, "users"))
	return nil
}

// directory takes the name of a directory, which need not be there.
func (s *cmdSetting) directory(answer string) (string, error) {
	if strings.HasPrefix(answer, "~") {
		return "", fmt.Errorf("%s: write the directory in full", answer)
	}
	if !utf8.ValidString(answer) || strings.ContainsFunc(answer, unicode.IsControl) {
		return "", fmt.Errorf("%q: no directory is called so", answer)
	}
	dir := filepath.Clean(answer)
	for d := s.full(dir); ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err == nil && !info.IsDir() {
			return "", fmt.Errorf("%s is a file, not a directory", d)
		}
		if err == nil || d == filepath.Dir(d) {
			return dir, nil
		}
	}
}

// full is a path that the file has, seen from here.
func (s *cmdSetting) full(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.file), path)
}

// mail is the directory of the mail, as it has been answered.
func (s *cmdSetting) mail() string {
	for _, change := range s.changes {
		if change.section == "storage" && change.name == "path" {
			return change.value.(string)
		}
	}
	return s.old.storage.path
}

const cmdSetupBeside = "beside" // the mail, as is usual

// cmdSetupSpool is where the package has it, if the mail is there, too; else beside the data, which is closed to others.
func cmdSetupSpool(s *cmdSetting) string {
	data := filepath.Dir(s.mail())
	switch {
	case s.old.storage.spool != "":
		return s.old.storage.spool
	case !s.fresh || os.Geteuid() != 0 || data == ".":
		return cmdSetupBeside
	case filepath.Dir(data) == "/var/lib":
		return "/var/spool/letterbox"
	}
	return data + "-spool"
}

func (s *cmdSetting) takeSpool(answer string) error {
	if answer == cmdSetupBeside {
		s.set("storage", "spool", "")
		return nil
	}
	if answer == s.old.storage.spool {
		return nil
	}
	dir, err := s.directory(answer)
	if err != nil {
		return err
	}
	if spool, mail := s.full(dir), s.full(s.mail()); strings.HasPrefix(mail+"/", strings.TrimSuffix(spool, "/")+"/") || strings.HasPrefix(spool, mail+"/") {
		return fmt.Errorf("%s: all users will write there, so it cannot be in or above the mail", answer)
	}
	s.set("storage", "spool", dir)
	return nil
}

func cmdSetupAdmins(s *cmdSetting) string {
	if len(s.old.web.admins) == 0 {
		return "none"
	}
	return strings.Join(s.old.web.admins, " ")
}

func (s *cmdSetting) takeAdmins(answer string) error {
	names := cmdSetupList(answer)
	if len(names) == 1 && (names[0] == "none" || names[0] == "-") {
		names = nil
	}
	for i, name := range names {
		var err error
		if names[i], err = authName(name); err != nil {
			return err
		}
	}
	if !slices.Equal(names, s.old.web.admins) {
		s.set("web", "admins", names)
	}
	return nil
}
