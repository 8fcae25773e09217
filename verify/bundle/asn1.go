package bundle

import (
	"errors"
	"fmt"
)

// maxASN1Depth bounds how deep the values of a timestamp token may be in each other.
// A token with certificates (RFC 5652) is about fifteen deep.
const maxASN1Depth = 64

var errASN1 = errors.New("malformed ASN.1")

// checkNesting refuses ASN.1 (X.690, BER) that is nested too deep to be meant. The
// library that reads timestamps writes each level anew into the one above, which
// takes time and memory by the square of the depth, before anything is verified.
func checkNesting(ber []byte) error {
	rest, err := skipASN1(ber, 0)
	if err == nil && len(rest) > 0 {
		return errASN1
	}
	return err
}

// skipASN1 reads one value off b and returns what follows it.
func skipASN1(b []byte, depth int) ([]byte, error) {
	if depth > maxASN1Depth {
		return nil, fmt.Errorf("expected ASN.1 nested at most %d deep", maxASN1Depth)
	}
	constructed, length, content, err := headerASN1(b)
	if err != nil {
		return nil, err
	}
	if length < 0 { // indefinite: up to an end-of-contents value
		for {
			if len(content) >= 2 && content[0] == 0 && content[1] == 0 {
				return content[2:], nil
			}
			if content, err = skipASN1(content, depth+1); err != nil {
				return nil, err
			}
		}
	}
	inner, rest := content[:length], content[length:]
	for constructed && len(inner) > 0 {
		if inner, err = skipASN1(inner, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// headerASN1 reads tag and length off b. A length of -1 is the indefinite form;
// every other one is within content.
func headerASN1(b []byte) (constructed bool, length int, content []byte, err error) {
	if len(b) < 2 {
		return false, 0, nil, errASN1
	}
	constructed, high := b[0]&0x20 != 0, b[0]&0x1f == 0x1f
	b = b[1:]
	for high { // a tag of several bytes: the last one has its first bit clear
		if len(b) < 2 {
			return false, 0, nil, errASN1
		}
		high, b = b[0]&0x80 != 0, b[1:]
	}
	length, b = int(b[0]), b[1:]
	switch {
	case length == 0x80 && constructed:
		return true, -1, b, nil
	case length >= 0x80:
		n := length & 0x7f
		if n == 0 || n > 4 || n > len(b) {
			return false, 0, nil, errASN1
		}
		length = 0
		for _, x := range b[:n] {
			length = length<<8 | int(x)
		}
		b = b[n:]
	}
	if length < 0 || length > len(b) {
		return false, 0, nil, errASN1
	}
	return constructed, length, b, nil
}
