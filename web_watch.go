package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
)

// What programs that watch over the box ask for. They need not be in the networks of the page.

// webWatching says who may ask, and whom to ask.
type webWatching struct {
	watchers []netip.Prefix
	metrics  func() string // in the text format of Prometheus
	health   func() error
}

// mayVisit tells by an error that the visitor's network may not see what is asked for. A unix socket may.
func (v *webVisit) mayVisit() error {
	networks, text := v.networks, "This page is for the home network of this box. You come from %s, which is not in it. [web] networks says who may see it."
	if path := v.r.URL.Path; path == "/metrics" || path == "/healthz" {
		networks, text = v.watchers, "This is for programs that watch this box. You come from %s. [web] metrics_networks says who may ask."
	}
	if !v.from.IsValid() || slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(v.from) }) {
		return nil
	}
	return webStranger{webRefusal{http.StatusForbidden, fmt.Sprintf(text, v.from)}}
}

// showMetrics tells the numbers.
func (v *webVisit) showMetrics() error {
	return v.write(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(v.metrics()))
}

// showHealthz tells whether the server does its work.
func (v *webVisit) showHealthz() error {
	if err := v.health(); err != nil {
		return v.write(http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte(err.Error()+"\n"))
	}
	return v.write(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}
