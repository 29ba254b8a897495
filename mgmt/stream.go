package mgmt

import (
	"context"
	"fmt"
	"net"
	"time"
)

// chunks carries the output of a command that answers bit by bit.
type chunks struct {
	connection net.Conn
	server     context.Context // ends when the server does
}

const (
	chunkMark    = "+"
	chunkMax     = 64 << 10
	stopDeadline = time.Second // for the client to take a chunk, once the server stops
)

// Write sends p to the client, in chunks.
func (c *chunks) Write(p []byte) (n int, err error) {
	for n < len(p) {
		chunk := p[n:min(len(p), n+chunkMax)]
		deadline := answerDeadline
		if c.server.Err() != nil {
			deadline = stopDeadline
		}
		c.connection.SetWriteDeadline(time.Now().Add(deadline))
		header := fmt.Appendf(nil, "%s %d\n", chunkMark, len(chunk))
		buffers := net.Buffers{header, chunk}
		if _, err := buffers.WriteTo(c.connection); err != nil {
			return n, fmt.Errorf("send to client: %w", err)
		}
		n += len(chunk)
	}
	return n, nil
}

// watch returns a context that ends when the client is gone or has closed its side, or the server stops. From
// then on a client that takes nothing is not waited for long. Call release when the command has ended.
func (c *chunks) watch() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(c.server)
	hurry := context.AfterFunc(c.server, func() { c.connection.SetWriteDeadline(time.Now().Add(stopDeadline)) })
	done := make(chan struct{})
	c.connection.SetReadDeadline(time.Time{})
	go func() {
		defer close(done)
		defer cancel()
		var nothing [1]byte
		_, _ = c.connection.Read(nothing[:]) // whatever it says, or the end of it, is the wish to end
	}()
	return ctx, func() {
		hurry()
		c.connection.SetReadDeadline(time.Now())
		<-done
	}
}
