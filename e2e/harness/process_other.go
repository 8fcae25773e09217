//go:build !linux

package harness

import (
	"errors"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

func interruptGroup(int) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
