package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/upstream"
)

const (
	// smallBlob is the size up to which a blob is checked whole before its first
	// byte is sent, and remembered.
	smallBlob = 4 << 20
	// smallBlobTime bounds the wait for a small blob.
	smallBlobTime = 2 * time.Minute
	// blobChunk is how much is read and written at a time, and how much of a blob
	// is held back until its digest is known.
	blobChunk = 256 << 10
	// chunkWriteTime bounds how long a client may take to accept one chunk: about
	// 2 KiB a second.
	chunkWriteTime = 2 * time.Minute
)

// getBlob answers GET and HEAD of a blob, with Range, when an allowed manifest of
// the repository lists it.
func (h *Handler) getBlob(x *exchange) error {
	repo, err := x.repository(h.opts.Names)
	if err != nil {
		return err
	}
	ref, err := withDigest(repo, x.what)
	if err != nil {
		return err
	}
	x.about("blob", ref)
	if err := h.enter(x, ref, true); err != nil {
		return notFound(err, codeBlobUnknown)
	}
	out, err := h.gate.admitBlob(x.r.Context(), repo, ref.Digest())
	if err != nil {
		return notFound(err, codeBlobUnknown)
	}
	out.Digest = ref.Digest()
	x.decide(out, h.opts.AuditBlobs || !out.Forward() || out.ReportOnly)
	if !out.Forward() {
		return errDenied(ref, out)
	}
	x.w.Header().Set("Docker-Content-Digest", ref.Digest().String())
	x.w.Header().Set("Accept-Ranges", "bytes")
	if b, ok := h.opts.Blobs.Get(repo.Name(), ref.Digest()); ok {
		return h.sendBlob(x, ref, b)
	}
	if x.r.Method == http.MethodHead {
		return h.statBlob(x, ref)
	}
	return h.streamBlob(x, ref)
}

func (h *Handler) statBlob(x *exchange, ref reference.Canonical) error {
	size, err := h.opts.Upstream.StatBlob(x.r.Context(), ref)
	if err != nil {
		return notFound(err, codeBlobUnknown)
	}
	head := x.w.Header()
	head.Set("Content-Type", "application/octet-stream")
	if size >= 0 {
		head.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	x.status = http.StatusOK
	x.deadline()
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// streamBlob sends a blob from the upstream.
func (h *Handler) streamBlob(x *exchange, ref reference.Canonical) error {
	if x.entry.Mirror && graphDriver(x.r.UserAgent()) && h.broken.has(ref) {
		return errBroken(ref)
	}
	// Small blobs are read into memory whole: once for all who ask, and so many at a
	// time.
	ctx, cancel := context.WithTimeout(x.r.Context(), smallBlobTime)
	defer cancel()
	next, err := h.reading.take(ctx, owner(ctx)+ref.String())
	if err != nil {
		return errUnread(ref, err)
	}
	next = sync.OnceFunc(next)
	defer next()
	if b, ok := h.opts.Blobs.Get(reference.TrimNamed(ref).Name(), ref.Digest()); ok {
		return h.sendBlob(x, ref, b)
	}
	blob, err := h.opts.Upstream.Blob(x.r.Context(), ref)
	if err != nil {
		return notFound(err, codeBlobUnknown)
	}
	defer blob.Body.Close()
	if blob.Size <= smallBlob {
		var b []byte
		if b, blob, err = h.readSmall(ctx, blob, ref); err != nil {
			return err
		}
		next()
		if blob == nil {
			return h.sendBlob(x, ref, b)
		}
	}
	next()
	return h.copyBlob(x, ref, blob)
}

// readSmall reads a blob that is small, or may be, into memory. A blob that turns
// out to be large is returned instead, as it was.
func (h *Handler) readSmall(ctx context.Context, blob *upstream.Blob, ref reference.Canonical) ([]byte, *upstream.Blob, error) {
	giveBack, err := h.gate.slots.take(ctx, reference.Domain(ref))
	if err != nil {
		return nil, nil, errUnread(ref, err)
	}
	defer giveBack()
	defer context.AfterFunc(ctx, func() { blob.Body.Close() })()
	if blob.Size < 0 {
		if blob, err = sized(blob, ref); err != nil || blob.Size < 0 {
			return nil, blob, err
		}
	}
	b, err := readWhole(blob, ref)
	if err != nil {
		return nil, nil, err
	}
	h.opts.Blobs.Put(reference.TrimNamed(ref).Name(), ref.Digest(), b)
	return b, nil, nil
}

// sized finds out whether a blob whose size the upstream does not tell is a small
// one, which is checked whole. A large one is returned as it was.
func sized(blob *upstream.Blob, ref reference.Canonical) (*upstream.Blob, error) {
	begin, err := io.ReadAll(io.LimitReader(blob.Body, smallBlob+1))
	if err != nil {
		return nil, errUnread(ref, err)
	}
	out := &upstream.Blob{Size: -1, Body: struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), blob.Body), blob.Body}}
	if len(begin) <= smallBlob {
		out.Size = int64(len(begin))
	}
	return out, nil
}

func errUnread(ref reference.Canonical, err error) error {
	return &upstream.Error{Kind: upstream.Unavailable, Registry: reference.Domain(ref), Op: "blob " + ref.Digest().String(), Err: err}
}

// readWhole reads a whole blob and checks it.
func readWhole(blob *upstream.Blob, ref reference.Canonical) ([]byte, error) {
	b := make([]byte, blob.Size)
	if _, err := io.ReadFull(blob.Body, b); err != nil {
		return nil, errUnread(ref, err)
	}
	if n, _ := blob.Body.Read(make([]byte, 1)); n != 0 {
		return nil, errMismatch("the upstream sent more than the %d bytes it announced for blob %s", blob.Size, ref.Digest())
	}
	if found := ref.Digest().Algorithm().FromBytes(b); found != ref.Digest() {
		return nil, errMismatch("the upstream sent other bytes for blob %s: their digest is %s", ref.Digest(), found)
	}
	return b, nil
}

// sendBlob sends a checked blob that is in memory.
func (h *Handler) sendBlob(x *exchange, ref reference.Canonical, b []byte) error {
	if looksLikeManifest(b) {
		return errBlobDenied("manifest " + ref.Digest().String() + " is not served as a blob; ask for it under /manifests/")
	}
	span, err := rangeOf(x.r, int64(len(b)))
	if err != nil {
		return err
	}
	part := b[span.first : span.last+1]
	status := span.announce(x.w.Header(), int64(len(b)))
	if x.r.Method != http.MethodHead {
		h.opts.Metrics.BlobBytes(reference.Domain(ref), int64(len(part)))
	}
	return x.writeBytes(status, "application/octet-stream", part)
}

// copyBlob sends a large blob while it arrives. Its last bytes, or those of the
// range asked for, are held back until the whole of it has been hashed: what is
// wrong never arrives complete.
func (h *Handler) copyBlob(x *exchange, ref reference.Canonical, blob *upstream.Blob) error {
	var span byteRange
	status := http.StatusOK
	if blob.Size >= 0 {
		var err error
		if span, err = rangeOf(x.r, blob.Size); err != nil {
			return err
		}
		status = span.announce(x.w.Header(), blob.Size)
		x.w.Header().Set("Content-Length", strconv.FormatInt(span.last-span.first+1, 10))
	} else {
		span = byteRange{0, 1<<63 - 2, false}
	}
	x.w.Header().Set("Content-Type", "application/octet-stream")
	begin := func() {
		x.status = status
		x.w.WriteHeader(status)
	}
	out := &heldBack{w: x.w, begin: begin, deadline: http.NewResponseController(x.w).SetWriteDeadline, span: span, size: blob.Size,
		hash: ref.Digest().Algorithm().Hash()}
	err := out.copy(blob.Body, ref.Digest())
	h.opts.Metrics.BlobBytes(reference.Domain(ref), out.sent)
	if err == nil {
		return nil
	}
	var wrong *apiError
	if errors.Is(err, errClientGone) || !errors.As(err, &wrong) && x.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the upstream was cut off because the client went away
	}
	h.broken.add(ref)
	if !out.begun {
		return err // nothing was sent: it can still be answered
	}
	h.abort(x, ref, err)
	return nil
}

// abort ends a connection on which a blob turned out wrong after its first bytes
// were sent: nothing else can tell the client.
func (h *Handler) abort(x *exchange, ref reference.Canonical, err error) {
	h.opts.Logger.Warn("blob aborted", "request_id", x.record.RequestID, "blob", ref.String(), "error", err)
	x.decided = true
	x.record.Decision = decisionInconclusive
	var wrong *apiError
	if errors.As(err, &wrong) {
		x.record.Decision = decisionDenied
	}
	x.record.Reasons = []string{err.Error()}
	x.status = http.StatusBadGateway
	panic(http.ErrAbortHandler)
}

var errClientGone = errors.New("the client went away")

// heldBack copies a blob to a client, hashing all of it, sending the range asked
// for, and keeping the last chunk until the digest is known to be right.
type heldBack struct {
	w        io.Writer
	begin    func() // before the first byte
	begun    bool
	deadline func(time.Time) error
	span     byteRange
	size     int64 // announced, -1 when unknown
	hash     hash.Hash
	read     int64
	sent     int64
}

func (o *heldBack) copy(body io.Reader, want digest.Digest) error {
	next, held := make([]byte, blobChunk), make([]byte, 0, blobChunk)
	for {
		n, err := io.ReadFull(body, next[:blobChunk])
		o.hash.Write(next[:n])
		// What is held goes out only when there is something later to hold instead.
		if part := o.wanted(next[:n]); len(part) > 0 {
			if err := o.send(held); err != nil {
				return err
			}
			held = append(held[:0], part...)
		}
		o.read += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading blob %s: %w", want, err)
		}
		if o.size >= 0 && o.read > o.size {
			break
		}
	}
	if o.size >= 0 && o.read < o.size {
		return fmt.Errorf("the upstream ended blob %s after %d of %d bytes", want, o.read, o.size)
	}
	if o.size >= 0 && o.read > o.size {
		return errMismatch("the upstream sent more than the %d bytes it announced for blob %s", o.size, want)
	}
	if found := digest.NewDigest(want.Algorithm(), o.hash); found != want {
		return errMismatch("the upstream sent other bytes for blob %s: their digest is %s", want, found)
	}
	if len(held) == 0 {
		o.start() // an empty answer is one, too
	}
	return o.send(held)
}

func (o *heldBack) start() {
	if !o.begun {
		o.begun = true
		o.begin()
	}
}

// wanted is the part of chunk, which begins at byte o.read of the blob, that was
// asked for.
func (o *heldBack) wanted(chunk []byte) []byte {
	first := max(o.span.first-o.read, 0)
	last := min(o.span.last+1-o.read, int64(len(chunk)))
	if first >= last {
		return nil
	}
	return chunk[first:last]
}

func (o *heldBack) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_ = o.deadline(time.Now().Add(chunkWriteTime)) // not every transport has deadlines
	o.start()
	n, err := o.w.Write(b)
	o.sent += int64(n)
	if err != nil {
		return errClientGone
	}
	return nil
}

// byteRange is the part of a blob to send, both ends included.
type byteRange struct {
	first, last int64
	partial     bool
}

// announce sets the headers for the part and returns the status.
func (s byteRange) announce(h http.Header, size int64) int {
	if !s.partial {
		return http.StatusOK
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.first, s.last, size))
	return http.StatusPartialContent
}

// rangeOf reads a single byte range (RFC 9110, section 14). What is not a range
// of bytes, or asks for several, is answered with the whole, as the RFC allows.
func rangeOf(r *http.Request, size int64) (byteRange, error) {
	whole := byteRange{0, size - 1, false}
	spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok || r.Method != http.MethodGet || strings.Contains(spec, ",") || r.Header.Get("If-Range") != "" {
		return whole, nil
	}
	from, to, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole, nil
	}
	span := byteRange{partial: true}
	switch {
	case from == "": // the last bytes
		n, err := parsePosition(to)
		if err != nil {
			return whole, nil
		}
		span.first, span.last = max(size-n, 0), size-1
		if n == 0 {
			return whole, errRange(size)
		}
	default:
		first, err := parsePosition(from)
		if err != nil {
			return whole, nil
		}
		last := size - 1
		if to != "" {
			if last, err = parsePosition(to); err != nil || last < first {
				return whole, nil
			}
		}
		span.first, span.last = first, min(last, size-1)
	}
	if span.first >= size {
		return whole, errRange(size)
	}
	return span, nil
}

func parsePosition(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

func errRange(size int64) *apiError {
	return &apiError{status: http.StatusRequestedRangeNotSatisfiable, code: codeRangeInvalid,
		message: fmt.Sprintf("the range lies outside of the blob's %d bytes", size), contentRange: fmt.Sprintf("bytes */%d", size)}
}
