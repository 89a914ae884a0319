package main

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// configDecoder puts a file's values into a config, and notes all that does not fit.
type configDecoder struct {
	*config
	lines    map[string]int
	findings []configFinding
}

func (d *configDecoder) found(path, what, hint string) {
	d.findings = append(d.findings, configFinding{d.lines[path], what, hint})
}

// sort brings the findings into the order of the file.
func (d *configDecoder) sort() {
	sort.SliceStable(d.findings, func(i, j int) bool { return d.findings[i].line < d.findings[j].line })
}

// section decodes the keys of a section; "" is the top of the file.
func (d *configDecoder) section(section string, table map[string]any) {
	for name, value := range table {
		path := configPath(name)
		if section != "" {
			path = configPath(section, name)
		}
		inner, isTable := value.(map[string]any)
		switch key := configKeyOf(section, name); {
		case section == configAliases:
			d.alias(path, name, value)
		case section == configMetadata:
			d.entry(path, name, value)
		case section == configRetention:
			d.keeps(path, section, name, value, &d.retention)
		case section == configUsers:
			d.user(path, name, value)
		case key != nil:
			d.value(path, *key, value)
		case section == "" && configIsSection(name) && isTable:
			d.section(name, inner)
		case section == "" && configIsSection(name):
			d.found(path, fmt.Sprintf("%s is a section, not a value", name), "write ["+name+"] on a line of its own")
		case section == "" && isTable:
			d.unknownSection(path, name, inner)
		default:
			what := fmt.Sprintf("unknown key %q", name)
			if section != "" {
				what += " in [" + section + "]"
			}
			d.found(path, what, configKeyHint(section, name))
		}
	}
}

// unknownSection says so, at the line of [name] or of [name.first].
func (d *configDecoder) unknownSection(path, name string, inner map[string]any) {
	full := configQuote(name)
	if len(inner) == 1 { // [users.alice] is named whole
		for second, value := range inner {
			if _, isTable := value.(map[string]any); isTable {
				full += "." + configQuote(second)
			}
		}
	}
	hint := "the sections are " + strings.Join(configSections(), ", ")
	if near := configNearest(name, configSections()); near != "" {
		hint = "did you mean [" + near + "]?"
	}
	d.found(path, "unknown section ["+full+"]", hint)
}

// value decodes one value into its field.
func (d *configDecoder) value(path string, key configKey, value any) {
	var want string
	switch field := key.field(d.config).(type) {
	case *string:
		if v, ok := value.(string); ok {
			*field = v
			return
		}
		want = `a text in quotes, like "` + configExample(key) + `"`
	case *bool:
		if v, ok := value.(bool); ok {
			*field = v
			return
		}
		want = "true or false, without quotes"
	case *int:
		if v, ok := value.(int64); ok && v <= math.MaxInt32 && v >= math.MinInt32 {
			*field = int(v)
			return
		}
		want = "a number without quotes"
	case *configSize:
		if v, ok := value.(string); ok {
			size, err := configParseSize(v)
			if err != nil {
				d.found(path, fmt.Sprintf("%s: %v", key.label(), err), `sizes are written "25MiB", "500KiB" or "2GiB"`)
				return
			}
			*field = size
			return
		}
		want = `a size in quotes, like "25MiB"`
	case *configQuota:
		if v, ok := value.(string); ok {
			size, err := configParseSize(v)
			if err != nil && v != "" {
				d.found(path, fmt.Sprintf("%s: %v", key.label(), err), `sizes are written "500MiB" or "2GiB"; "" is no limit`)
				return
			}
			*field = configQuota(size)
			return
		}
		want = `a size in quotes, like "2GiB"`
	case *[]string:
		if v, ok := configStrings(value); ok {
			*field = v
			return
		}
		want = `a list of texts, like ["` + configExample(key) + `"]`
	}
	d.found(path, fmt.Sprintf("%s must be %s, not %s", key.label(), want, configType(value)), "")
}

// alias decodes a line of [aliases]: one user, or a list.
func (d *configDecoder) alias(path, name string, value any) {
	targets, ok := configStrings(value)
	if one, isString := value.(string); isString {
		targets, ok = []string{one}, true
	}
	if !ok {
		d.found(path, fmt.Sprintf("alias %q must be a user or a list of users, not %s", name, configType(value)),
			`write family = ["alice", "bob"]; a name with a dot or an @ stands in quotes`)
		return
	}
	if d.aliases == nil {
		d.aliases = map[string][]string{}
	}
	d.aliases[name] = targets
}

// entry decodes a line of [metadata].
func (d *configDecoder) entry(path, name string, value any) {
	text, ok := value.(string)
	if !ok {
		d.found(path, fmt.Sprintf("[metadata] %s must be a text in quotes, not %s", name, configType(value)), "the name stands in quotes, too")
		return
	}
	if d.entries == nil {
		d.entries = map[string]string{}
	}
	d.entries[name] = text
}

const configDaysHint = `days are written "30d", weeks "4w"; "" is for ever`

// keeps decodes a line of [retention]: a folder, and how long mail stays in it. INBOX has no case.
func (d *configDecoder) keeps(path, section, folder string, value any, into *map[string]int) {
	text, ok := value.(string)
	if !ok {
		d.found(path, fmt.Sprintf("[%s] %s must be a time in quotes, like \"30d\", not %s", section, configQuote(folder), configType(value)), "a name with a dot, a blank or a / stands in quotes, too")
		return
	}
	days, err := configParseDays(text)
	if err != nil {
		d.found(path, fmt.Sprintf("[%s] %s: %v", section, configQuote(folder), err), configDaysHint)
		return
	}
	name := strings.TrimSuffix(folder, "/*")
	if name == "" || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.Contains(name, "//") || strings.ContainsAny(name, "*%\x00\r\n") {
		d.found(path, fmt.Sprintf("[%s] %q is no folder's name", section, folder), `write one as mail programs show it, with / between its parts, like "Trash" or "lists/go"; "lists/*" is all below lists`)
		return
	}
	if len(name) >= 5 && strings.EqualFold(name[:5], "INBOX") && (len(name) == 5 || name[5] == '/') {
		folder = "INBOX" + folder[5:]
	}
	if *into == nil {
		*into = map[string]int{}
	}
	if _, twice := (*into)[folder]; twice {
		d.found(path, fmt.Sprintf("[%s] %s is there twice", section, folder), "")
	}
	(*into)[folder] = days
}

// configParseDays reads "30d" or "4w"; "" is 0.
func configParseDays(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	unit := map[byte]int{'d': 1, 'w': 7}[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 16)
	switch days := int(n) * unit; {
	case unit == 0 || err != nil:
		return 0, fmt.Errorf("%q is no number of days", text)
	case days < 1 || days > configDaysMost:
		return 0, fmt.Errorf("%q is not between 1 and %d days", text, configDaysMost)
	default:
		return days, nil
	}
}

const configDaysMost = 36500 // a hundred years

// user decodes a section [users.NAME].
func (d *configDecoder) user(path, name string, value any) {
	table, ok := value.(map[string]any)
	if !ok {
		d.found(path, fmt.Sprintf("%q in [users] must be a section, not %s", name, configType(value)), "write [users."+configQuote(name)+"] on a line of its own")
		return
	}
	if name == "" || name != strings.ToLower(name) {
		d.found(path, fmt.Sprintf("[users.%s] is no user's name", configQuote(name)), "users' names are in lower case: [users."+configQuote(strings.ToLower(name))+"]")
	}
	section := configUsers + "." + configQuote(name)
	own := configUser{}
	for inner, value := range table {
		path := configPath(configUsers, name, inner)
		switch inner {
		case "quota":
			own.quota = new(configQuota)
			d.value(path, configKey{section, inner, func(*config) any { return own.quota }}, value)
		case "quota_messages":
			own.quotaMessages = new(int)
			d.value(path, configKey{section, inner, func(*config) any { return own.quotaMessages }}, value)
		case configRetention:
			table, ok := value.(map[string]any)
			if !ok {
				d.found(path, fmt.Sprintf("[%s] retention must be a section, not %s", section, configType(value)), "write ["+section+".retention] on a line of its own")
			}
			for folder, value := range table {
				d.keeps(configPath(configUsers, name, inner, folder), section+".retention", folder, value, &own.retention)
			}
		default:
			hint := "[users.NAME] knows quota, quota_messages, and a section retention"
			if near := configNearest(inner, []string{"quota", "quota_messages", configRetention}); near != "" {
				hint = "did you mean " + near + "?"
			}
			d.found(path, fmt.Sprintf("unknown key %q in [%s]", inner, section), hint)
		}
	}
	if d.users == nil {
		d.users = map[string]configUser{}
	}
	d.users[name] = own
}

// label names a key as messages do.
func (k configKey) label() string {
	if k.section == "" {
		return k.name
	}
	return "[" + k.section + "] " + k.name
}

// configExample is a value that would do.
func configExample(key configKey) string {
	switch field := key.field(configDefault()).(type) {
	case *string:
		if *field != "" {
			return *field
		}
	case *[]string:
		if len(*field) > 0 {
			return (*field)[0]
		}
	}
	examples := map[string]string{"hostname": "mail.example.org", "domains": "example.org", "lmtp": "127.0.0.1:24",
		"expire": "14d", "cert": "cert.pem", "key": "key.pem", "prefix": "INBOX.", "shared": "Shared", "networks": "192.168.1.0/24", "admins": "alice", "without": "QRESYNC", "smtp": ":2526", "submission": ":2588", "submissions": ":2466"}
	return examples[key.name]
}

func configStrings(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	var texts []string
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

func configType(value any) string {
	switch value := value.(type) {
	case string:
		return "a text"
	case int64, float64:
		return "a number"
	case bool:
		return fmt.Sprint(value)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a section"
	}
	return "a date"
}

// configParseSize reads "25MiB".
func configParseSize(text string) (configSize, error) {
	digits := strings.TrimRight(text, "BiKMGTkmgb ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	shift, ok := map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[strings.TrimSpace(text[len(digits):])]
	if !ok {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return configSize(n << shift), nil
}

func configKeyOf(section, name string) *configKey {
	for i := range configKeys {
		if configKeys[i].section == section && configKeys[i].name == name {
			return &configKeys[i]
		}
	}
	return nil
}

func configSections() []string {
	sections := []string{configAliases, configMetadata, configRetention, configUsers}
	for _, key := range configKeys {
		if key.section != "" && !slices.Contains(sections, key.section) {
			sections = append(sections, key.section)
		}
	}
	sort.Strings(sections)
	return sections
}

func configIsSection(name string) bool { return slices.Contains(configSections(), name) }

// configKeyHint says what an unknown key may have meant.
func configKeyHint(section, name string) string {
	var here, elsewhere []string
	for _, key := range configKeys {
		if key.section == section {
			here = append(here, key.name)
		} else if key.name == name && key.section == "" {
			return name + " belongs at the top of the file, before the first [section]"
		} else if key.name == name {
			elsewhere = append(elsewhere, "["+key.section+"]")
		}
	}
	if len(elsewhere) > 0 {
		return name + " belongs in " + strings.Join(elsewhere, " or ")
	}
	if near := configNearest(name, here); near != "" {
		return "did you mean " + near + "?"
	}
	if section == "" && len(here) > 0 {
		return "at the top of the file stand " + strings.Join(here, " and ")
	}
	return "[" + section + "] knows " + strings.Join(here, ", ")
}

// configNearest gives the one of names that was probably meant, or "".
func configNearest(typed string, names []string) (near string) {
	if len(typed) > 64 {
		return "" // no slip of the finger
	}
	best := max(len(typed)/3, 1) + 1
	for _, name := range names {
		if n := min(configDistance(typed, name), configWordDistance(typed, name)); n < best {
			near, best = name, n
		}
	}
	return near
}

// configWordDistance finds max_size in max_message_size: each typed word must be
// near to a word of the name.
func configWordDistance(typed, name string) (sum int) {
	words := strings.Split(name, "_")
	for word := range strings.SplitSeq(strings.ReplaceAll(typed, "-", "_"), "_") {
		best := len(word) + 1
		for _, w := range words {
			best = min(best, configDistance(word, w))
		}
		sum += best
	}
	return sum
}

// configDistance counts the letters to be changed, added, left out, or swapped with
// their neighbour, between two words.
func configDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
