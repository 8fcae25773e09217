package harness

import "syscall"

// processAttributes lets what a test starts end with the test program, however
// that ends, and gives it a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}

// interruptGroup is Ctrl-C in the terminal of a process.
func interruptGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }

func unmount(path string) error { return syscall.Unmount(path, syscall.MNT_DETACH) }
