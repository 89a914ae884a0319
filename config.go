package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// The config room: what config.toml says. It knows what each key means, and finds
// all that is wrong at once, each with its line and what to do. It opens no port and
// no mail.
//
//	found --parse--> keys and types right --check--> values right --> used
//	   \________________ a finding ends the start _______/

// configEmbedded is the documented default. It runs when there is no file.
//
//go:embed config.toml
var configEmbedded string

// config is a whole configuration: what the file says, and the defaults where it
// says nothing.
type config struct {
	name string // of the file, for messages

	hostname string // "" only before configLoad has asked the system
	given    bool   // the hostname stands in the file
	domains  []string
	user     string // whose the process becomes if root starts it

	listen    configListen
	storage   configStorage
	tls       configTLS
	oauth     configOAuth
	smtp      configSMTP
	aliases   map[string][]string
	entries   map[string]string // of [metadata]
	pop3      configPOP3
	retention map[string]int // days by folder, 0: for ever
	imap      configIMAP
	limits    configLimits
	users     map[string]configUser
	legacy    configListen // smtp, submission, submissions only
	web       configWeb
	mdns      configMDNS
}

// configListen is a list of "host:port" or "unix:/path" for each service, by its
// IANA name. An empty list switches the service off.
type configListen struct {
	smtp, submission, submissions, lmtp, pop3, pop3s, imap, imaps, http, https []string
}

type configStorage struct{ path, users, spool string }

// spool is the directory for mail of programs on this box, which waits there while the server is away.
func (c *config) spool() string {
	if c.storage.spool == "" {
		return filepath.Join(filepath.Dir(c.storage.path), "spool")
	}
	return c.storage.spool
}

type configTLS struct {
	cert, key, clientCA, clientUser string
	acme                            []string // public names
	acmeDirectory, acmeEmail        string
}

type configOAuth struct {
	keys, issuer                       string
	audience                           []string
	userClaim, scope, configurationURL string
}

type configSMTP struct {
	trustedNetworks []string // prefixes, addresses, or a word of configNetworkWords
	maxMessageSize  configSize
	maxRecipients   int
	public          bool
}

type configPOP3 struct {
	uidl, onDelete string
	expire         string // days, as configParseDays has them; "": never
	lock           bool
}

// expireDays is expire as a number, 0: never.
func (p configPOP3) expireDays() int {
	days, err := configParseDays(p.expire)
	if err != nil { // configCheck lets nothing of that kind through
		return 0
	}
	return days
}

type configIMAP struct {
	separator, prefix string
	shared            string
	without           []string // names of capabilities, as the user wrote them
	messageLimit      int      // 0: none, as the next
	saveLimit         int
	submitUsers       []string
}

type configWeb struct {
	networks []string // as smtp.trustedNetworks; none: those
	admins   []string // users

	metricsNetworks []string // as smtp.trustedNetworks
}

// webNetworks are the networks that may see the page.
func (c *config) webNetworks() []string {
	if len(c.web.networks) > 0 {
		return c.web.networks
	}
	return c.smtp.trustedNetworks
}

type configMDNS struct{ enabled bool }

type configLimits struct {
	plaintextAuth         string
	connections           int
	connectionsPerAddress int
	memory                string // a size, or configAuto
	quota                 configQuota
	quotaMessages         int
	quotaAdmins           []string
}

// configUser is what differs for one user; nil: as for all.
type configUser struct {
	quota         *configQuota
	quotaMessages *int
	retention     map[string]int // in place of those for all, folder by folder
}

// retentionOf says how many days mail stays in a user's folders.
func (c *config) retentionOf(user string) map[string]int {
	own := c.users[user].retention
	if len(own) == 0 {
		return c.retention
	}
	all := map[string]int{}
	for _, rules := range []map[string]int{c.retention, own} {
		for folder, days := range rules {
			all[folder] = days
		}
	}
	return all
}

// retains tells whether there is such a rule for anybody.
func (c *config) retains() bool {
	for _, own := range c.users {
		if len(own.retention) > 0 {
			return true
		}
	}
	return len(c.retention) > 0
}

// configQuota is a number of bytes, written as a configSize, or "" for no limit, which is 0.
type configQuota int64

// quota is how much mail a user may have, 0: no limit.
func (c *config) quota(user string) (bytes int64, messages int) {
	size, messages := c.limits.quota, c.limits.quotaMessages
	own := c.users[user]
	if own.quota != nil {
		size = *own.quota
	}
	if own.quotaMessages != nil {
		messages = *own.quotaMessages
	}
	return int64(size), messages
}

// fixesQuota tells whether the file has limits of the user's own.
func (c *config) fixesQuota(user string) bool {
	own := c.users[user]
	return own.quota != nil || own.quotaMessages != nil
}

const configAuto = "auto"

// memory is the limit in bytes, 0 if it is to be found out.
func (c *config) memory() int64 {
	size, err := configParseSize(c.limits.memory)
	if err != nil { // configAuto: configCheck lets nothing else through
		return 0
	}
	return int64(size)
}

// configSize is a number of bytes, written "25MiB".
type configSize int64

// configDefault is the default of every key. config.toml shows them; a test holds
// the two equal.
func configDefault() *config {
	return &config{
		listen: configListen{
			smtp: []string{":2525"}, submission: []string{":2587"}, submissions: []string{":2465"},
			pop3: []string{":2110"}, pop3s: []string{":2995"},
			imap: []string{":2143"}, imaps: []string{":2993"},
			http: []string{":2080"}, https: []string{":2443"},
		},
		storage: configStorage{path: "data/mail", users: "data/users"},
		tls:     configTLS{clientUser: "cn", acmeDirectory: "https://acme-v02.api.letsencrypt.org/directory"},
		oauth:   configOAuth{userClaim: "email"},
		smtp: configSMTP{
			trustedNetworks: []string{configLoopback, configPrivate, configInterfaces},
			maxMessageSize:  50 << 20,
			maxRecipients:   100,
		},
		mdns:   configMDNS{enabled: true},
		pop3:   configPOP3{uidl: "dovecot", onDelete: "hide"},
		web:    configWeb{metricsNetworks: []string{configLoopback}},
		imap:   configIMAP{separator: "/", shared: "Shared", messageLimit: 10_000_000},
		limits: configLimits{plaintextAuth: "loopback", connections: 1000, connectionsPerAddress: 100, memory: configAuto},
	}
}

// configKey is a key that the file may have.
type configKey struct {
	section, name string
	field         func(c *config) any // points at a string, []string, bool, int, configSize or configQuota
}

// The sections whose keys are not ours: names of aliases, of annotations, of folders, and of users, for each of whom
// a section may follow.
const (
	configAliases  = "aliases"
	configMetadata = "metadata"
	configUsers    = "users"

	configRetention = "retention"
)

// configKeys is every key. To add one: a row here, its default in configDefault,
// its line in config.toml, and its bad values in configCheck.
var configKeys = []configKey{
	{"", "hostname", func(c *config) any { return &c.hostname }},
	{"", "domains", func(c *config) any { return &c.domains }},
	{"", "user", func(c *config) any { return &c.user }},
	{"listen", "smtp", func(c *config) any { return &c.listen.smtp }},
	{"listen", "submission", func(c *config) any { return &c.listen.submission }},
	{"listen", "submissions", func(c *config) any { return &c.listen.submissions }},
	{"listen", "lmtp", func(c *config) any { return &c.listen.lmtp }},
	{"listen", "pop3", func(c *config) any { return &c.listen.pop3 }},
	{"listen", "pop3s", func(c *config) any { return &c.listen.pop3s }},
	{"listen", "imap", func(c *config) any { return &c.listen.imap }},
	{"listen", "imaps", func(c *config) any { return &c.listen.imaps }},
	{"listen", "http", func(c *config) any { return &c.listen.http }},
	{"listen", "https", func(c *config) any { return &c.listen.https }},
	{"storage", "path", func(c *config) any { return &c.storage.path }},
	{"storage", "users", func(c *config) any { return &c.storage.users }},
	{"storage", "spool", func(c *config) any { return &c.storage.spool }},
	{"tls", "cert", func(c *config) any { return &c.tls.cert }},
	{"tls", "key", func(c *config) any { return &c.tls.key }},
	{"tls", "acme", func(c *config) any { return &c.tls.acme }},
	{"tls", "acme_directory", func(c *config) any { return &c.tls.acmeDirectory }},
	{"tls", "acme_email", func(c *config) any { return &c.tls.acmeEmail }},
	{"tls", "client_ca", func(c *config) any { return &c.tls.clientCA }},
	{"tls", "client_user", func(c *config) any { return &c.tls.clientUser }},
	{"oauth", "keys", func(c *config) any { return &c.oauth.keys }},
	{"oauth", "issuer", func(c *config) any { return &c.oauth.issuer }},
	{"oauth", "audience", func(c *config) any { return &c.oauth.audience }},
	{"oauth", "user_claim", func(c *config) any { return &c.oauth.userClaim }},
	{"oauth", "scope", func(c *config) any { return &c.oauth.scope }},
	{"oauth", "configuration_url", func(c *config) any { return &c.oauth.configurationURL }},
	{"smtp", "trusted_networks", func(c *config) any { return &c.smtp.trustedNetworks }},
	{"smtp", "max_message_size", func(c *config) any { return &c.smtp.maxMessageSize }},
	{"smtp", "max_recipients", func(c *config) any { return &c.smtp.maxRecipients }},
	{"smtp", "public", func(c *config) any { return &c.smtp.public }},
	{"pop3", "uidl", func(c *config) any { return &c.pop3.uidl }},
	{"pop3", "on_delete", func(c *config) any { return &c.pop3.onDelete }},
	{"pop3", "expire", func(c *config) any { return &c.pop3.expire }},
	{"pop3", "lock", func(c *config) any { return &c.pop3.lock }},
	{"imap", "separator", func(c *config) any { return &c.imap.separator }},
	{"imap", "prefix", func(c *config) any { return &c.imap.prefix }},
	{"imap", "shared", func(c *config) any { return &c.imap.shared }},
	{"imap", "without", func(c *config) any { return &c.imap.without }},
	{"imap", "message_limit", func(c *config) any { return &c.imap.messageLimit }},
	{"imap", "save_limit", func(c *config) any { return &c.imap.saveLimit }},
	{"imap", "submit_users", func(c *config) any { return &c.imap.submitUsers }},
	{"web", "networks", func(c *config) any { return &c.web.networks }},
	{"web", "metrics_networks", func(c *config) any { return &c.web.metricsNetworks }},
	{"web", "admins", func(c *config) any { return &c.web.admins }},
	{"mdns", "enabled", func(c *config) any { return &c.mdns.enabled }},
	{"limits", "plaintext_auth", func(c *config) any { return &c.limits.plaintextAuth }},
	{"limits", "connections", func(c *config) any { return &c.limits.connections }},
	{"limits", "connections_per_address", func(c *config) any { return &c.limits.connectionsPerAddress }},
	{"limits", "memory", func(c *config) any { return &c.limits.memory }},
	{"limits", "quota", func(c *config) any { return &c.limits.quota }},
	{"limits", "quota_messages", func(c *config) any { return &c.limits.quotaMessages }},
	{"limits", "quota_admins", func(c *config) any { return &c.limits.quotaAdmins }},
	{"legacy", "smtp", func(c *config) any { return &c.legacy.smtp }},
	{"legacy", "submission", func(c *config) any { return &c.legacy.submission }},
	{"legacy", "submissions", func(c *config) any { return &c.legacy.submissions }},
}

// configFinding is one thing that is wrong, in words for the one who wrote it.
type configFinding struct {
	line int // 0: not known
	what string
	hint string // what to do
}

// configError is all that is wrong in a file.
type configError struct {
	name     string
	findings []configFinding
}

func (e *configError) Error() string {
	var b strings.Builder
	for i, f := range e.findings {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.name)
		if f.line > 0 {
			fmt.Fprintf(&b, ":%d", f.line)
		}
		fmt.Fprintf(&b, ": %s", f.what)
		if f.hint != "" {
			fmt.Fprintf(&b, "\nhint: %s", f.hint)
		}
	}
	return b.String()
}

// configPlaces are where a configuration is looked for when no file is named.
var configPlaces = []string{"config.toml", configInstalled}

// Where things lie that programs of all users must find.
const (
	configInstalled = "/etc/letterbox/config.toml"
	configSpool     = "/var/spool/letterbox"
)

// configLoad reads and checks a configuration. path "" stands for the first of
// configPlaces that exists, and else for the embedded one. Relative paths in a file
// are relative to it. capabilities are the words that [imap] without may have: what they
// mean is known above this room. What is wrong comes as a configError.
func configLoad(path string, capabilities []string) (*config, error) {
	name, text, err := configRead(path)
	if err != nil {
		return nil, err
	}
	return configMake(name, text, capabilities)
}

// configMake is configLoad for a text that need not be in its file yet.
func configMake(name, text string, capabilities []string) (*config, error) {
	c, findings := configParse(text)
	if len(findings) > 0 {
		return nil, &configError{name, findings}
	}
	c.name = name
	dir := ""
	if name != configEmbeddedName {
		dir = filepath.Dir(name)
	}
	for _, p := range []*string{&c.storage.path, &c.storage.users, &c.storage.spool, &c.tls.cert, &c.tls.key, &c.tls.clientCA, &c.oauth.keys} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c.hostname = strings.TrimSuffix(strings.ToLower(c.hostname), ".")
	c.given = c.hostname != ""
	if !c.given {
		c.hostname = configHostname()
	}
	if findings := configCheck(c, configLines(text), capabilities); len(findings) > 0 {
		return nil, &configError{name, findings}
	}
	return c, nil
}

const configEmbeddedName = "the built-in config.toml"

// configRead gives the file that is to be used.
func configRead(path string) (name, text string, err error) {
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", "", fmt.Errorf("reading the configuration: %w", err)
		}
		return path, string(b), nil
	}
	for _, place := range configPlaces {
		b, err := os.ReadFile(place)
		if err == nil {
			return place, string(b), nil
		} else if !errors.Is(err, fs.ErrNotExist) && !configHidden(place, err) {
			return "", "", fmt.Errorf("reading the configuration: %w", err)
		}
	}
	return configEmbeddedName, configEmbedded, nil
}

// configHidden tells whether a file could not be read since its directory is closed to
// us. That is nobody's configuration: people use sudo -u in their own home, which others
// may not look into.
func configHidden(path string, err error) bool {
	_, statErr := os.Stat(path)
	return errors.Is(err, fs.ErrPermission) && errors.Is(statErr, fs.ErrPermission)
}

// configHostname is what the system calls itself, made fit to be a host's name.
func configHostname() string {
	name, _ := os.Hostname() // without one, "letterbox" will do
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if !configIsHost(name) || strings.HasPrefix(name, "localhost") {
		return "letterbox"
	}
	return name
}

// configParse decodes a file: unknown keys and wrong types are found here, wrong
// values by configCheck.
func configParse(text string) (*config, []configFinding) {
	text = strings.TrimPrefix(text, configMark)
	var file map[string]any
	if _, err := toml.Decode(text, &file); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, []configFinding{{line: syntax.Position.Line, what: syntax.Message}}
		}
		return nil, []configFinding{{what: err.Error()}}
	}
	d := &configDecoder{config: configDefault(), lines: configLines(text)}
	d.section("", file)
	d.sort()
	return d.config, d.findings
}
