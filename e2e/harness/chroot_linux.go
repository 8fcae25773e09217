package harness

import "golang.org/x/sys/unix"

// mountOverlay shows lower at root; what is written goes to upper.
func mountOverlay(root, lower, upper, work string) error {
	options, err := overlayOptions(lower, upper, work)
	if err != nil {
		return err
	}
	return unix.Mount("overlay", root, "overlay", 0, options)
}
