//go:build e2e

package e2e

import "testing"

func TestVectors(t *testing.T) { makeVectors(t) }
