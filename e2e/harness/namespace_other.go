//go:build !linux

package harness

import "errors"

func inNetwork(int, func() error) error { return errors.New("network namespaces need Linux") }
