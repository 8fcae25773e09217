//go:build !linux

package main

import "syscall"

// processAttributes leaves the defaults: Ctrl-C reaches the gate as well as the
// demonstration, and both end.
func processAttributes() *syscall.SysProcAttr { return nil }
