package mgmt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Call runs a command over the control socket at path. The error is about the connection; what the command has to
// say, refusals included, is its output and status.
func Call(ctx context.Context, path string, args ...string) (output []byte, status int, err error) {
	return CallWith(ctx, path, nil, args...)
}

// CallWith is Call for a command that takes standard input; nil is none.
func CallWith(ctx context.Context, path string, stdin io.Reader, args ...string) (output []byte, status int, err error) {
	var b bytes.Buffer
	last, status, err := exchange(ctx, path, stdin, args, &b, func(c *net.UnixConn) { c.SetDeadline(time.Now()) })
	return append(b.Bytes(), last...), status, err
}

// endPatience is how long Stream waits for a command to end that was told to.
const endPatience = 10 * time.Second

// Stream runs a command that answers bit by bit. What it sends goes to w as it comes; its last words are the output. When
// ctx ends, the command is told to end, and Stream returns when it has.
func Stream(ctx context.Context, path string, w io.Writer, args ...string) (output []byte, status int, err error) {
	return exchange(ctx, path, nil, args, w, endWriting)
}

// Feed runs a command that answers bit by bit what it is given, which is read from in to its end. When ctx ends, so does the
// input for the command. In may be read from even after Feed has returned, once.
func Feed(ctx context.Context, path string, in io.Reader, w io.Writer, args ...string) (output []byte, status int, err error) {
	return exchange(ctx, path, in, args, w, endWriting)
}

// endWriting tells a command that there comes no more, which it ends with.
func endWriting(c *net.UnixConn) {
	c.SetReadDeadline(time.Now().Add(endPatience))
	c.CloseWrite()
}

// exchange sends a command and takes its answer. When ctx ends, stop is called.
func exchange(ctx context.Context, path string, stdin io.Reader, args []string, w io.Writer, stop func(*net.UnixConn)) (output []byte, status int, err error) {
	line := strings.Join(args, " ")
	if stdin != nil {
		line = bodyMark + line
	}
	if strings.ContainsAny(line, "\r\n") || len(line) >= requestMax {
		return nil, StatusBadCommand, errors.New("call: a command is one line")
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, StatusRefused, fmt.Errorf("call: %w", err)
	}
	defer connection.Close()
	var unread atomic.Pointer[error] // why stdin could not be read to its end
	defer func() {
		if e := unread.Load(); e != nil {
			err = *e
		}
	}()
	if _, err := io.WriteString(connection, line+"\n"); err != nil {
		return nil, StatusRefused, fmt.Errorf("call: %w", err)
	}
	defer context.AfterFunc(ctx, func() { stop(connection.(*net.UnixConn)) })()
	if stdin != nil {
		go func() { // beside the answer, which may come before all of it is sent
			if err := sendBody(connection, stdin); err != nil {
				unread.Store(&err)
				connection.Close()
			}
		}()
	}
	answer := bufio.NewReaderSize(connection, chunkMax)
	for {
		status, length, last, err := readHeader(answer)
		if err != nil {
			return nil, StatusRefused, err
		}
		var b bytes.Buffer
		to := w
		if last {
			to = &b
		}
		if _, err := io.CopyN(to, answer, int64(length)); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return b.Bytes(), StatusRefused, fmt.Errorf("call: take answer: %w", err)
		}
		if last {
			return b.Bytes(), status, nil
		}
	}
}

// readHeader reads the line before a chunk, or before the last words.
func readHeader(answer *bufio.Reader) (status, length int, last bool, err error) {
	header, err := answer.ReadSlice('\n')
	if err != nil {
		return 0, 0, false, fmt.Errorf("call: read answer: %w", err)
	}
	first, lengthText, _ := strings.Cut(strings.TrimSuffix(string(header), "\n"), " ")
	limit := answerMax
	if last = first != chunkMark; last {
		status, err = strconv.Atoi(first)
	} else {
		limit = chunkMax
	}
	length, lengthErr := strconv.Atoi(lengthText)
	if err = errors.Join(err, lengthErr); err != nil || length < 0 || length > limit {
		return 0, 0, false, fmt.Errorf("call: answer begins with %q", clip(string(header)))
	}
	return status, length, last, nil
}
