package harness

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetwork runs f on a thread that is in the network namespace of a process.
// The sockets that f makes stay there.
func inNetwork(pid int, f func() error) error {
	result := make(chan error, 1)
	go func() { result <- onLockedThread(pid, f) }()
	return <-result
}

// onLockedThread takes its thread into the namespace and back. The thread must
// live on: the processes that it started are ended with it (Pdeathsig).
func onLockedThread(pid int, f func() error) error {
	runtime.LockOSThread()
	home, err := openNetwork("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	result := enterNetwork(pid, f)
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("leave the network namespace: %w", err) // still locked: the thread ends here
	}
	runtime.UnlockOSThread()
	return result
}

func enterNetwork(pid int, f func() error) error {
	there, err := openNetwork(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return f()
}

func openNetwork(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open the network namespace %s: %w", path, err)
	}
	return fd, nil
}
