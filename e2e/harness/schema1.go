package harness

import (
	"testing"

	"github.com/containers/libtrust"
)

// signSchema1 signs a schema 1 manifest with a fresh key, as docker push did.
func signSchema1(t testing.TB, payload []byte) []byte {
	t.Helper()
	key, err := libtrust.GenerateECP256PrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	js, err := libtrust.NewJSONSignature(payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Sign(key); err != nil {
		t.Fatal(err)
	}
	b, err := js.PrettySignature("signatures")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
