//go:build !linux

package harness

import "errors"

func mountOverlay(_, lower, upper, work string) error {
	_, err := overlayOptions(lower, upper, work)
	return errors.Join(err, errors.ErrUnsupported)
}
