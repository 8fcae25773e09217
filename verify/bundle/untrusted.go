package bundle

import (
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/discover"
)

// UntrustedStatement is the in-toto statement in a bundle or a DSSE envelope, which
// anybody can have written: nothing of it is verified. It is for hints, never for
// decisions. A bundle that is a signature holds none: nil.
func UntrustedStatement(d discover.Document) (statement []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // as in guarded; here it is the document's own fault
			statement, err = nil, fmt.Errorf("cannot be read: %s", clean(fmt.Sprint(p)))
		}
	}()
	var b *protobundle.Bundle
	switch d.Kind {
	case discover.KindBundle:
		b, err = readBundle(d.Bytes)
	case discover.KindDSSE:
		b, err = bareEnvelope(d.Bytes)
	default:
		return nil, fmt.Errorf("expected a bundle or a DSSE envelope, found %s", clean(string(d.Kind)))
	}
	if err != nil {
		return nil, reason(err)
	}
	env := b.GetDsseEnvelope()
	if env == nil {
		return nil, nil
	}
	if env.GetPayloadType() != intotoType {
		return nil, fmt.Errorf("DSSE envelope: expected payload type %s, found %.100q", intotoType, env.GetPayloadType())
	}
	return env.GetPayload(), nil
}

// bareEnvelope reads a DSSE envelope without what belongs to it.
func bareEnvelope(envelope []byte) (*protobundle.Bundle, error) {
	if len(envelope) > maxDocument {
		return nil, errTooMany("bytes of an envelope", maxDocument, len(envelope))
	}
	if err := discover.CheckValues(envelope); err != nil {
		return nil, fmt.Errorf("DSSE envelope: %w", err)
	}
	if err := checkJSON(envelope); err != nil {
		return nil, fmt.Errorf("DSSE envelope: %w", err)
	}
	env := &protodsse.Envelope{}
	// Members that nobody knows are allowed by DSSE and are not signed.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(envelope, env); err != nil {
		return nil, fmt.Errorf("expected a DSSE envelope: %w", err)
	}
	return &protobundle.Bundle{MediaType: attachmentVersion, Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: env}}, nil
}
