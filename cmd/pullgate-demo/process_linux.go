package main

import "syscall"

// processAttributes gives the gate a process group of its own, so that Ctrl-C
// reaches only the demonstration, which then stops the gate in order; and ends
// the gate when the demonstration itself is killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
