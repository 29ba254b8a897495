package vm

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"weir/perf/lab"
)

// Login is how to reach a machine's SSH server from a host.
type Login struct {
	Host    *lab.Host
	Address string // and port
	User    string
	Key     ssh.Signer
}

// NewKey makes a key to log in with, and the line of authorized_keys for it.
func NewKey(t testing.TB) (key ssh.Signer, line string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	return key, string(ssh.MarshalAuthorizedKey(key.PublicKey()))
}

// Answer is what a command said.
type Answer struct {
	Out, Err string
	Status   int
}

// Run executes a command. The error is of the connection; that of the command is in the answer.
func (l Login) Run(ctx context.Context, command string, stdin io.Reader) (a Answer, err error) {
	client, err := l.Dial(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close() })() // ends what waits for the machine
	session, err := client.NewSession()
	if err != nil {
		return Answer{}, fmt.Errorf("open a session: %w", err)
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = stdin, &stdout, &stderr
	err = session.Run(command)
	a = Answer{Out: stdout.String(), Err: stderr.String()}
	if exit := new(ssh.ExitError); errors.As(err, &exit) {
		a.Status, err = exit.ExitStatus(), nil
	}
	return a, err
}

// Dial connects and logs in.
func (l Login) Dial(ctx context.Context) (*ssh.Client, error) {
	var conn net.Conn
	err := l.Host.Do(func() error {
		ctx, cancel := context.WithTimeout(ctx, dialPatience)
		defer cancel()
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", l.Address) // of an address, not a name: it stays on this thread
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(dialPatience)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c, channels, requests, err := ssh.NewClientConn(conn, l.Address, &ssh.ClientConfig{
		User: l.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.Key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the laboratory has nobody else
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// dialPatience is for one attempt.
const dialPatience = 30 * time.Second

// Await repeats a command until the machine answers with status 0.
func (l Login) Await(t testing.TB, command string) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, time.Minute)
		a, err := l.Run(attempt, command, nil)
		done()
		if err == nil && a.Status == 0 {
			return a
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s at %s: %+v, %v", command, l.Address, a, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
