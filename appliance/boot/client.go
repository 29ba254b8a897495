package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Client asks PID 1, over its socket.
type Client struct{ Socket string }

// Ask has PID 1 do something, and returns what it says. Where that is to go down, it does so when the answer was passed on: call told
// then, once.
func (c Client) Ask(ctx context.Context, do string, in io.Reader) (text string, told func(), err error) {
	a, connection, err := c.exchange(ctx, do, in)
	if err != nil {
		return "", func() {}, err
	}
	return a.Text, func() { connection.Close() }, nil
}

// Platform asks what the router runs on.
func (c Client) Platform(ctx context.Context) (*Platform, error) {
	a, connection, err := c.exchange(ctx, AskPlatform, nil)
	if err != nil {
		return nil, err
	}
	connection.Close()
	if a.Platform == nil {
		return nil, errors.New("ask PID 1: it says nothing of the platform")
	}
	return a.Platform, nil
}

// answerPatience is for an image to be checked and written to a slow disk.
const answerPatience = 5 * time.Minute

func (c Client) exchange(ctx context.Context, do string, in io.Reader) (a answer, connection *net.UnixConn, err error) {
	connection, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: c.Socket, Net: "unix"})
	if err != nil {
		return a, nil, fmt.Errorf("ask PID 1: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { connection.SetDeadline(time.Now()) })
	defer stop()
	defer func() {
		if err != nil {
			connection.Close()
		}
	}()
	line, err := json.Marshal(request{do})
	if err != nil {
		return a, connection, err
	}
	if _, err = connection.Write(append(line, '\n')); err != nil {
		return a, connection, fmt.Errorf("ask PID 1: %w", err)
	}
	if in != nil {
		if err = sendChunks(connection, in); err != nil {
			return a, connection, fmt.Errorf("read upgrade: %w", err)
		}
	}
	connection.SetReadDeadline(time.Now().Add(answerPatience))
	if err = ctx.Err(); err != nil {
		return a, connection, err
	}
	text, err := bufio.NewReader(connection).ReadBytes('\n')
	if err != nil {
		return a, connection, fmt.Errorf("ask PID 1: read answer: %w", err)
	}
	if err = json.Unmarshal(text, &a); err != nil {
		return a, connection, fmt.Errorf("ask PID 1: read answer: %w", err)
	}
	if a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, connection, err
}
