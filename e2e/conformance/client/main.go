// Command client is verify/bundle as sigstore-conformance runs it: its
// --entrypoint. The exit status is 0 when the bundle verifies, 1 otherwise.
package main

import (
	"fmt"
	"os"

	"github.com/pullgate/pullgate/e2e/conformance"
)

func main() {
	if err := conformance.Run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
