// Package notation judges Notary Project signatures.
package notation
