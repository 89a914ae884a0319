//go:build !linux

package main

import "runtime/debug"

// serverForgetStart gives back what only the start needed.
func serverForgetStart() { debug.FreeOSMemory() }
