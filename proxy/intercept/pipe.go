package intercept

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pipe copies between two connections until both directions have ended. It ends
// when no byte moved in either direction for the idle time.
type pipe struct {
	idle time.Duration
	last atomic.Int64 // when a byte moved, in nanoseconds of Unix time
}

// copyBytes is the size of the buffer for one direction.
const copyBytes = 32 << 10

func newPipe(idle time.Duration) *pipe {
	p := &pipe{idle: idle}
	p.moved()
	return p
}

func (p *pipe) moved() { p.last.Store(time.Now().UnixNano()) }

// deadline is when the pipe is idle if nothing moves.
func (p *pipe) deadline() time.Time { return time.Unix(0, p.last.Load()).Add(p.idle) }

// run sends hello to far and copies both ways. It returns the bytes from and to
// near. An end of one direction is passed on as such (half-close); an error in one
// ends both.
func (p *pipe) run(near, far net.Conn, hello []byte) (sent, received int64, err error) {
	_ = far.SetWriteDeadline(p.deadline())
	n, err := far.Write(hello)
	if err != nil {
		return int64(n), 0, err
	}
	var back error
	var wg sync.WaitGroup
	wg.Go(func() {
		if received, back = p.copy(near, far); back != nil {
			near.Close()
			far.Close()
		}
	})
	sent, err = p.copy(far, near)
	if err != nil {
		near.Close()
		far.Close()
	}
	wg.Wait()
	return sent + int64(n), received, errors.Join(err, back)
}

// copy moves bytes from src to dst until src ends.
func (p *pipe) copy(dst, src net.Conn) (moved int64, err error) {
	buf := make([]byte, copyBytes)
	for {
		_ = src.SetReadDeadline(p.deadline())
		n, err := src.Read(buf)
		if n > 0 {
			p.moved()
			_ = dst.SetWriteDeadline(p.deadline())
			w, err := dst.Write(buf[:n])
			moved += int64(w)
			if err != nil {
				return moved, err
			}
			p.moved()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return moved, closeWrite(dst)
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(p.deadline()):
			// The other direction is busy.
		default:
			return moved, err
		}
	}
}

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
