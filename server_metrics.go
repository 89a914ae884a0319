package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
)

// The numbers in the text format of Prometheus, version 0.0.4.

// serverMetrics writes them.
type serverMetrics struct{ b strings.Builder }

// family begins numbers of one name. kind is "counter" or "gauge".
func (m *serverMetrics) family(name, kind, help string) {
	fmt.Fprintf(&m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// serverMetricsEscape is how the value of a label is written.
var serverMetricsEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// value writes one number; labels are names and values in turn.
func (m *serverMetrics) value(name string, value float64, labels ...string) {
	m.b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		m.b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&m.b, `%s="%s"`, labels[i], serverMetricsEscape.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")))
	}
	if len(labels) > 0 {
		m.b.WriteByte('}')
	}
	m.b.WriteByte(' ')
	m.b.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	m.b.WriteByte('\n')
}

// one writes a family of one number.
func (m *serverMetrics) one(name, kind, help string, value float64) {
	m.family(name, kind, help)
	m.value(name, value)
}

// counts writes a family of counters, one for each name.
func (m *serverMetrics) counts(name, help, label string, counts map[string]uint64) {
	m.family(name, "counter", help)
	for _, key := range serverNamesOf(counts) {
		m.value(name, float64(counts[key]), label, key)
	}
}

// metrics are all numbers.
func (s *server) metrics() string {
	st := s.status(false)
	m := &serverMetrics{}
	m.family("letterbox_build_info", "gauge", "The version that runs.")
	m.value("letterbox_build_info", 1, "version", st.Version, "goversion", runtime.Version())
	m.one("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.", float64(st.Started.UnixMilli())/1000)

	m.family("letterbox_connections", "gauge", "Connections that are open.")
	for _, one := range st.Services {
		m.value("letterbox_connections", float64(one.Open), "service", one.Name)
	}
	m.family("letterbox_connections_total", "counter", "Connections that were taken.")
	for _, one := range st.Services {
		m.value("letterbox_connections_total", float64(one.Total), "service", one.Name)
	}
	m.family("letterbox_connections_refused_total", "counter", "Connections that were too many, or came from elsewhere to the legacy ports.")
	for _, one := range st.Services {
		m.value("letterbox_connections_refused_total", float64(one.Refused), "service", one.Name)
	}
	m.counts("letterbox_logins_total", "Logins.", "service", st.Start.Logins)
	m.counts("letterbox_logins_failed_total", "Logins that were refused.", "service", st.Start.LoginsFailed)
	m.one("letterbox_messages_delivered_total", "counter", "Messages that were delivered, one for each recipient.", float64(st.Start.Delivered))
	m.one("letterbox_delivered_bytes_total", "counter", "Bytes of these.", float64(st.Start.Bytes))
	m.counts("letterbox_messages_not_delivered_total", "Messages that could not be stored.", "reason", st.Start.NotDelivered)
	m.counts("letterbox_refused_total", "Senders and recipients that were refused, by the code of the reply.", "code", st.Start.Refused)

	m.one("letterbox_users", "gauge", "Users.", float64(len(st.Users)))
	for _, family := range []struct {
		name, help string
		of         func(u *serverStatusUser) int64
	}{
		{"letterbox_user_messages", "Messages that a user has.", func(u *serverStatusUser) int64 { return u.Messages }},
		{"letterbox_user_bytes", "Bytes of these.", func(u *serverStatusUser) int64 { return u.Bytes }},
		{"letterbox_user_quota_messages", "Messages that a user may have; 0 is any number.", func(u *serverStatusUser) int64 { return u.QuotaMessages }},
		{"letterbox_user_quota_bytes", "Bytes that a user may have; 0 is any number.", func(u *serverStatusUser) int64 { return u.QuotaBytes }},
	} {
		m.family(family.name, "gauge", family.help)
		for i := range st.Users {
			if st.Users[i].Problem == "" { // else it would be told as 0
				m.value(family.name, float64(family.of(&st.Users[i])), "user", st.Users[i].Name)
			}
		}
	}
	m.one("letterbox_mailboxes_loaded", "gauge", "Folders that are in memory.", float64(st.Mailboxes))
	m.one("letterbox_messages_loaded", "gauge", "Messages of these.", float64(st.Messages))
	m.one("letterbox_mailbox_memory_bytes", "gauge", "What these take at most.", float64(st.Messages)*mailboxMessageMost)
	if st.Certificate != nil {
		m.one("letterbox_certificate_not_after_seconds", "gauge", "When the TLS certificate ends, in seconds since 1970.", float64(st.Certificate.Unix()))
	}
	m.runtime()
	return m.b.String()
}

// runtime writes what Go and the system tell of the process.
func (m *serverMetrics) runtime() {
	m.one("go_goroutines", "gauge", "Goroutines.", float64(runtime.NumGoroutine()))
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples)
	for i, family := range []struct{ name, kind, help string }{
		{"go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects in memory."},
		{"go_memstats_sys_bytes", "gauge", "Bytes that Go has from the system."},
		{"go_gc_cycles_total", "counter", "Runs of the garbage collector."},
	} {
		m.one(family.name, family.kind, family.help, float64(samples[i].Value.Uint64()))
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(statm)); err == nil && len(fields) > 1 { // Linux alone has it
		if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			m.one("process_resident_memory_bytes", "gauge", "Memory that the process takes.", float64(pages*int64(os.Getpagesize())))
		}
	}
}
