package upstream

import (
	"errors"
	"io"
	"time"
)

// idleBody is a body that may take as long as it likes but must not stall: a
// read that waits longer than the idle timeout ends the exchange. The time in
// which nobody reads does not count, so slow clients are not cut off.
type idleBody struct {
	a     *answer
	timer *time.Timer
	idle  time.Duration
}

func newIdleBody(a *answer) *idleBody {
	b := &idleBody{a: a, idle: a.r.opt.IdleTimeout}
	b.timer = time.AfterFunc(b.idle, func() { a.cancel(errIdleBody) })
	b.timer.Stop()
	return b
}

// Read reads from the body. A body shorter than its announced length is an
// error, never an EOF.
func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.a.Body.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, asError(b.a.ctx, b.a.r.name, b.a.call.op, err)
	}
	return n, err
}

// Close ends the exchange.
func (b *idleBody) Close() error {
	b.timer.Stop()
	b.a.close()
	return nil
}
