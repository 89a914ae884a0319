package main

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Words of trusted_networks.
const (
	configLoopback   = "loopback"
	configPrivate    = "private"
	configInterfaces = "interfaces"
)

var configNetworkWords = []string{configLoopback, configPrivate, configInterfaces}

// configCheck finds all values that cannot be meant.
func configCheck(c *config, lines map[string]int, capabilities []string) []configFinding {
	d := &configDecoder{config: c, lines: lines}
	if !configIsHost(c.hostname) {
		d.found(configPath("hostname"), fmt.Sprintf("hostname %q is not a host's name", c.hostname), `write one like "mail.example.org" or "pi"`)
	}
	for _, domain := range c.domains {
		if !configIsHost(strings.ToLower(domain)) {
			hint := `write one like "example.org"; no @, no address`
			if strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) {
				hint = `write its ASCII form, which has a part that begins with "xn--"; mail may come with either`
			}
			d.found(configPath("domains"), fmt.Sprintf("%q is not a domain", domain), hint)
		}
	}
	if c.user == "root" || strings.ContainsAny(c.user, " :/\t\n") {
		d.found(configPath("user"), fmt.Sprintf("user %q is not one to become", c.user), `write the name of an account that has no rights of its own, like "letterbox"`)
	}
	d.checkListen()
	d.checkPaths()
	d.checkSMTP()
	d.checkAliases()
	d.checkWord("tls", "client_user", c.tls.clientUser, "cn", "email")
	d.checkACME()
	d.checkOAuth()
	d.checkWord("pop3", "uidl", c.pop3.uidl, "dovecot", "courier", "cyrus", "filename")
	d.checkWord("pop3", "on_delete", c.pop3.onDelete, "hide", "trash", "archive", "delete")
	if _, err := configParseDays(c.pop3.expire); err != nil {
		d.found(configPath("pop3", "expire"), fmt.Sprintf("[pop3] expire: %v", err), configDaysHint)
	}
	d.checkWord("imap", "separator", c.imap.separator, "/", ".")
	if d.checkWord("imap", "prefix", c.imap.prefix, "", "INBOX.") && c.imap.prefix != "" && c.imap.separator != "." {
		d.found(configPath("imap", "prefix"), `[imap] prefix "INBOX." needs the separator "."`, `set separator = "."`)
	}
	d.checkShared()
	d.checkWithout(capabilities)
	d.checkMessageLimits()
	d.checkSubmitUsers()
	d.checkNetworks("web", "networks", c.web.networks)
	d.checkNetworks("web", "metrics_networks", c.web.metricsNetworks)
	for _, name := range c.web.admins {
		if name == "" || name != strings.ToLower(name) || strings.Contains(name, "@") {
			d.found(configPath("web", "admins"), fmt.Sprintf("[web] admins: %q is no user's name", name), `users' names are in lower case and have no @: admins = ["alice"]`)
		}
	}
	d.checkMetadata()
	d.checkWord("limits", "plaintext_auth", c.limits.plaintextAuth, "loopback", "always", "never")
	d.checkLeast("limits", "connections", int64(c.limits.connections), 1, "1")
	d.checkLeast("limits", "connections_per_address", int64(c.limits.connectionsPerAddress), 1, "1")
	d.checkQuota(configPath("limits"), "[limits]", &c.limits.quota, &c.limits.quotaMessages)
	for _, name := range c.limits.quotaAdmins {
		if strings.ToLower(name) != name || name == "" || strings.ContainsAny(name, "@ ") {
			d.found(configPath("limits", "quota_admins"), fmt.Sprintf("[limits] quota_admins: %q is no user's name", name), "write names as letterbox user list has them")
		}
	}
	for name, own := range c.users {
		d.checkQuota(configPath(configUsers, name), "[users."+configQuote(name)+"]", own.quota, own.quotaMessages)
	}
	if size, err := configParseSize(c.limits.memory); c.limits.memory != configAuto && err != nil {
		d.found(configPath("limits", "memory"), fmt.Sprintf("[limits] memory: %v", err), `write "auto", or a size like "64MiB"`)
	} else if err == nil {
		d.checkLeast("limits", "memory", int64(size), 24<<20, `"24MiB"`)
	}
	d.sort()
	return d.findings
}

// checkShared wants a word that can be the first part of a folder's name, or none.
func (d *configDecoder) checkShared() {
	word := d.config.imap.shared
	if len(word) > 64 || strings.EqualFold(word, "INBOX") || strings.HasPrefix(word, "~") ||
		strings.ContainsFunc(word, func(r rune) bool { return strings.ContainsRune("/.*%&", r) || r < '!' || r > '~' }) {
		d.found(configPath("imap", "shared"), fmt.Sprintf("[imap] shared %q cannot be the first part of a folder's name", word),
			`write a word of ASCII letters like "Shared", or "" if nobody is to see others' folders`)
	}
}

func (d *configDecoder) checkWord(section, name, value string, words ...string) bool {
	if slices.Contains(words, value) {
		return true
	}
	hint := ""
	if near := configNearest(value, words); near != "" && value != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	last := len(words) - 1
	d.found(configPath(section, name), fmt.Sprintf("[%s] %s cannot be %q, it is %s or %s", section, name, value,
		strings.Join(words[:last], ", "), words[last]), hint)
	return false
}

// checkMessageLimits checks the limits of what one IMAP command deals with.
func (d *configDecoder) checkMessageLimits() {
	for _, limit := range []struct {
		key   string
		value int
	}{{"message_limit", d.imap.messageLimit}, {"save_limit", d.imap.saveLimit}} {
		if limit.value != 0 && (limit.value < 1000 || int64(limit.value) > math.MaxUint32) { // RFC 9738, section 3
			d.found(configPath("imap", limit.key), fmt.Sprintf("[imap] %s must be from 1000 to 4294967295, or 0", limit.key), "0 is any number")
		}
	}
	if d.imap.messageLimit != 0 && d.imap.saveLimit != 0 {
		d.found(configPath("imap", "save_limit"), "[imap] message_limit holds for all that save_limit does", "set message_limit = 0, or save_limit = 0")
	}
}

// checkSubmitUsers checks that [imap] submit_users are names as users can have them.
func (d *configDecoder) checkSubmitUsers() {
	for _, name := range d.imap.submitUsers {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' }) {
			d.found(configPath("imap", "submit_users"), fmt.Sprintf("[imap] submit_users: %q is no user's name", name), "write the name that the sending server logs in with")
		}
	}
}

// configLocal are domains that mean something in one's own network only (RFC 6761, RFC 6762, RFC 8375); no CA signs for them.
var configLocal = []string{".local", ".lan", ".home.arpa", ".localhost", ".internal", ".home", ".fritz.box"}

// checkACME checks that certificates of a CA on the Internet can be had.
func (d *configDecoder) checkACME() {
	t := &d.tls
	path := configPath("tls", "acme")
	for _, name := range t.acme {
		name = strings.ToLower(name)
		_, err := netip.ParseAddr(name)
		if isAddress := err == nil; isAddress || !configIsHost(name) || !strings.Contains(name, ".") ||
			slices.ContainsFunc(configLocal, func(domain string) bool { return strings.HasSuffix(name, domain) }) {
			d.found(path, fmt.Sprintf("[tls] acme: %q is not a name that the whole world knows", name), `write one that the DNS leads to this box, like "mail.example.org"; names at home have the certificate of this box's own CA`)
		}
	}
	if len(t.acme) > 0 {
		if t.cert != "" || t.key != "" {
			d.found(path, "[tls] has both acme, and cert or key", "give one of the two: a certificate in files, or names to get one for")
		}
		if len(d.listen.http) == 0 && len(d.listen.https) == 0 {
			d.found(path, "[tls] acme needs [listen] http or https", "the CA comes to port 80 or 443 to see whether the name leads here")
		}
	}
	if u, err := url.Parse(t.acmeDirectory); err != nil || u.Scheme != "https" || u.Host == "" {
		d.found(configPath("tls", "acme_directory"), fmt.Sprintf("[tls] acme_directory %q is no address of a CA", t.acmeDirectory), `it begins with https://, like "https://acme-v02.api.letsencrypt.org/directory"`)
	}
	if a, err := addressParse(t.acmeEmail); t.acmeEmail != "" && (err != nil || a.domain == "") {
		d.found(configPath("tls", "acme_email"), fmt.Sprintf("[tls] acme_email: %q is no address", t.acmeEmail), `write one like "alice@example.org", or "" to give none`)
	}
}

// checkOAuth checks that what tokens must say is given along with the keys.
func (d *configDecoder) checkOAuth() {
	o := &d.oauth
	if o.keys == "" {
		if o.issuer != "" || len(o.audience) > 0 || o.scope != "" || o.configurationURL != "" {
			d.found(configPath("oauth"), "[oauth] keys is missing", "name the file with the public keys of the authorization server; without it, no token lets in")
		}
		return
	}
	if o.issuer == "" {
		d.found(configPath("oauth", "keys"), "[oauth] issuer is missing", "write what tokens have in iss; it is in the authorization server's openid-configuration")
	}
	if len(o.audience) == 0 || slices.Contains(o.audience, "") {
		d.found(configPath("oauth", "keys"), "[oauth] audience is missing", "write what tokens for this box have in aud; without it, tokens for others would let in")
	}
	if o.userClaim == "" {
		d.found(configPath("oauth", "user_claim"), "[oauth] user_claim is empty", `write "email", or another claim that names the user`)
	}
	if strings.ContainsAny(o.scope, " \t") {
		d.found(configPath("oauth", "scope"), "[oauth] scope is one word", "")
	}
	if o.configurationURL != "" && !strings.HasPrefix(o.configurationURL, "https://") { // RFC 7628, section 3.2.2
		d.found(configPath("oauth", "configuration_url"), "[oauth] configuration_url begins with https://", "")
	}
}

// checkWithout checks that [imap] without names capabilities that can be withheld. They
// have no case (RFC 9051, section 6.1.1).
func (d *configDecoder) checkWithout(capabilities []string) {
	for _, name := range d.imap.without {
		if slices.ContainsFunc(capabilities, func(c string) bool { return strings.EqualFold(c, name) }) {
			continue
		}
		hint := "CAPABILITY names them; IMAP4rev1, and what a login needs, are always told"
		if near := configNearest(strings.ToUpper(name), capabilities); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		d.found(configPath("imap", "without"), fmt.Sprintf("[imap] without: %q is no capability that can be withheld", name), hint)
	}
}

// checkMetadata checks the names of [metadata] (RFC 5464, section 3.2) and that admin is a
// URI (section 6.2.2).
func (d *configDecoder) checkMetadata() {
	for name, value := range d.entries {
		path := configPath(configMetadata, name)
		switch {
		case !strings.HasPrefix(name, "/shared/") || strings.Contains(name, "//") || strings.HasSuffix(name, "/") || len(name) > 200 ||
			strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' || c == '*' || c == '%' }):
			d.found(path, fmt.Sprintf("[metadata] %q is no entry that all users can share", name), `write "/shared/comment", "/shared/admin", or "/shared/filters/values/NAME"`)
		case len(value) > 64<<10:
			d.found(path, fmt.Sprintf("[metadata] %q is longer than 64 KiB", name), "")
		case name == "/shared/admin" && !configIsURI(value):
			d.found(path, fmt.Sprintf("[metadata] %q is %q, and must be a URI", name, value), `write one like "mailto:alice@example.org" or "tel:+49301234567"`)
		}
	}
}

func configIsURI(text string) bool {
	uri, err := url.Parse(text)
	return err == nil && uri.Scheme != ""
}

// checkQuota checks limits of a user's mail; nil: not given. A client is told them in KiB.
func (d *configDecoder) checkQuota(path, section string, quota *configQuota, messages *int) {
	if quota != nil && *quota != 0 && *quota < 1<<10 {
		d.found(path+".quota", section+` quota must be at least "1KiB"`, `"" is no limit`)
	}
	if messages != nil && *messages < 0 {
		d.found(path+".quota_messages", section+" quota_messages cannot be less than 0", "0 is no limit")
	}
}

func (d *configDecoder) checkLeast(section, name string, value, least int64, words string) {
	if value < least {
		d.found(configPath(section, name), fmt.Sprintf("[%s] %s must be at least %s", section, name, words), "")
	}
}

// checkListen checks each address, and that none is given twice.
func (d *configDecoder) checkListen() {
	taken := map[string]string{} // address: who has it
	for _, key := range configKeys {
		if key.section != "listen" && key.section != "legacy" {
			continue
		}
		path := configPath(key.section, key.name)
		for _, address := range *key.field(d.config).(*[]string) {
			if err := configCheckAddress(address); err != nil {
				d.found(path, fmt.Sprintf("%s: %v", key.label(), err), `write "host:port", ":port" or "unix:/path"; an IPv6 address as "[::1]:25"`)
				continue
			}
			if other, ok := taken[address]; ok && !strings.HasSuffix(address, ":0") {
				d.found(path, fmt.Sprintf("%s: %q is given to %s already", key.label(), address, other), "each service needs a port of its own")
			}
			taken[address] = key.label()
		}
	}
}

// configCheckAddress says what is wrong with an address to listen on.
func configCheckAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%q needs a path that begins with /", address)
		}
		if len(path) > 100 { // what the systems' sockaddr_un has room for, less a little
			return fmt.Errorf("%q is too long for a socket's path", address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%q has no port between 1 and 65535", address)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !configIsHost(strings.ToLower(host)) {
		return fmt.Errorf("%q has no host's name or address before the port", address)
	}
	return nil
}

func (d *configDecoder) checkPaths() {
	if d.storage.path == "" {
		d.found(configPath("storage", "path"), "[storage] path is empty", `write the directory of the mail, like "/var/lib/letterbox/mail"`)
	}
	if d.storage.users == "" {
		d.found(configPath("storage", "users"), "[storage] users is empty", `write the users file, like "/var/lib/letterbox/users"`)
	}
	if d.storage.spool != "" && (strings.HasPrefix(d.storage.path+"/", filepath.Clean(d.storage.spool)+"/") || filepath.Dir(filepath.Clean(d.storage.spool)) == filepath.Clean(d.storage.path)) {
		d.found(configPath("storage", "spool"), "[storage] spool cannot be in or above the mail", `all users may write there; write a directory of its own, like "/var/spool/letterbox"`)
	}
	if (d.tls.cert == "") != (d.tls.key == "") {
		d.found(configPath("tls"), "[tls] cert and key go together", "give both, or neither")
	}
}

func (d *configDecoder) checkSMTP() {
	// A server must take 64 KiB and 100 recipients: RFC 5321, sections 4.5.3.1.7 and 4.5.3.1.8
	d.checkLeast("smtp", "max_message_size", int64(d.smtp.maxMessageSize), 64<<10, `"64KiB"`)
	d.checkLeast("smtp", "max_recipients", int64(d.smtp.maxRecipients), 100, "100")
	d.checkNetworks("smtp", "trusted_networks", d.smtp.trustedNetworks)
}

// checkNetworks checks a list of networks, addresses and words.
func (d *configDecoder) checkNetworks(section, name string, networks []string) {
	for _, network := range networks {
		if slices.Contains(configNetworkWords, network) {
			continue
		}
		if _, err := configPrefix(network); err != nil {
			hint := `write "192.168.1.0/24", an address, "loopback", "private" or "interfaces"`
			if near := configNearest(network, configNetworkWords); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			d.found(configPath(section, name), fmt.Sprintf("[%s] %s: %q is not a network", section, name, network), hint)
		}
	}
}

// configPrefix reads a network, or an address that stands for itself.
func configPrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// isOurs tells whether mail for a domain is for this box.
func (c *config) isOurs(domain string) bool {
	domain = strings.ToLower(domain)
	return domain == c.hostname || domain == c.hostname+".local" || domain == "localhost" ||
		slices.ContainsFunc(c.domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

func (d *configDecoder) checkAliases() {
	for name, targets := range d.aliases {
		path := configPath(configAliases, name)
		if name != "*" && !d.isAddressOfOurs(name) {
			d.found(path, fmt.Sprintf("alias %q is no name and no address of this box", name), d.aliasHint(name))
		}
		if len(targets) == 0 {
			d.found(path, fmt.Sprintf("alias %q goes to nobody", name), "name a user, or remove the line")
		}
		for _, target := range targets {
			if !d.isAddressOfOurs(target) {
				d.found(path, fmt.Sprintf("alias %q goes to %q, which is no user and no address of this box", name, target), d.aliasHint(target))
			}
		}
	}
}

func (d *configDecoder) isAddressOfOurs(text string) bool {
	a, err := addressParse(text)
	if err != nil { // a bare name is no address to everybody
		a, err = addressParse(text + "@localhost")
	}
	return err == nil && (a.domain == "" || d.isOurs(a.domain))
}

func (d *configDecoder) aliasHint(text string) string {
	if _, domain, ok := strings.Cut(text, "@"); ok && configIsHost(strings.ToLower(domain)) {
		return "Letterbox delivers to its own users only; is the domain missing in domains?"
	}
	return `write a user's name, or an address`
}

// configIsHost tells whether a lower-case name is one that a host or a domain can
// have (RFC 1123, section 2.1; an underscore is common in home networks).
func configIsHost(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !(configIsBare(c) && (c < 'A' || c > 'Z')) {
				return false
			}
		}
	}
	return true
}
