//go:build !linux

package harness

import (
	"errors"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

func unmount(string) error { return errors.ErrUnsupported }
