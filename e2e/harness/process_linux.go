package harness

import "syscall"

// processAttributes lets what a test starts end with the test program, however
// that ends.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

func unmount(path string) error { return syscall.Unmount(path, syscall.MNT_DETACH) }
