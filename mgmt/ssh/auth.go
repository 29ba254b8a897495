package ssh

import (
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"weir/mgmt"
)

// The algorithms that the library offers without the ones of SHA-1.
var (
	keyExchanges = withoutSHA1(ssh.SupportedAlgorithms().KeyExchanges)
	ciphers      = withoutSHA1(ssh.SupportedAlgorithms().Ciphers)
	macs         = withoutSHA1(ssh.SupportedAlgorithms().MACs)
	keyTypes     = withoutSHA1(ssh.SupportedAlgorithms().PublicKeyAuths)
)

func withoutSHA1(all []string) (kept []string) {
	for _, name := range all {
		// The server's side of group exchange is not in the library.
		if !strings.Contains(name, "sha1") && name != ssh.InsecureKeyExchangeDHGEXSHA1 && name != ssh.KeyExchangeDHGEXSHA256 {
			kept = append(kept, name)
		}
	}
	return kept
}

// What the permissions of a connection carry.
const (
	extensionUser = "user"
	extensionKey  = "key" // wire form
)

var errNotLetIn = errors.New("no such user, or not with this key")

// authenticationError is a handshake that did not end well, and whom it was for.
type authenticationError struct {
	user string // as the client says; empty where it did not come to that
	err  error
}

func (e *authenticationError) Error() string { return e.err.Error() }

// handshake authenticates a client.
func (s *Server) handshake(serving *serving, raw net.Conn) (*connection, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	deadline := time.Now().Add(s.limits.Handshake)
	raw.SetDeadline(deadline)
	tried := ""
	config := &ssh.ServerConfig{
		Config:                  ssh.Config{KeyExchanges: keyExchanges, Ciphers: ciphers, MACs: macs},
		PublicKeyAuthAlgorithms: keyTypes,
		MaxAuthTries:            s.limits.Tries,
		ServerVersion:           versionText,
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			blob := string(key.Marshal())
			if s.access.Load().role(m.User(), blob) == mgmt.NoRole {
				return nil, errNotLetIn
			}
			return &ssh.Permissions{Extensions: map[string]string{extensionUser: m.User(), extensionKey: blob}}, nil
		},
		AuthLogCallback: func(m ssh.ConnMetadata, _ string, _ error) { tried = m.User() }, // for the log only
	}
	s.mu.Lock()
	config.AddHostKey(s.hostKey)
	s.mu.Unlock()
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return nil, nil, nil, &authenticationError{tried, err}
	}
	raw.SetDeadline(time.Time{})
	p := conn.Permissions
	c := newConnection(s, serving, conn, p.Extensions[extensionUser], p.Extensions[extensionKey])
	return c, channels, requests, nil
}

// role is what a user with that key may do.
func (a *access) role(user, key string) mgmt.Role {
	u := a.users[user]
	for _, k := range u.Keys {
		if string(k.Blob) == key {
			return u.Role
		}
	}
	return mgmt.NoRole
}

// failures logs who could not authenticate, and no more than a few a minute.
type failures struct {
	mu         sync.Mutex
	told       int // in this minute
	suppressed int
}

const failuresMax = 20 // lines a minute

func (f *failures) tell(log *zap.Logger, from net.Addr, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told >= failuresMax {
		f.suppressed++
		return
	}
	f.told++
	user := ""
	var a *authenticationError
	if errors.As(err, &a) {
		user = a.user
	}
	log.Warn("not authenticated", zap.String("user", clip(user)), zap.Stringer("from", from), zap.String("error", clip(err.Error())))
}

// flush begins another minute.
func (f *failures) flush(log *zap.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.suppressed > 0 {
		log.Warn("not authenticated, not logged", zap.Int("connections", f.suppressed))
	}
	f.told, f.suppressed = 0, 0
}

// clip bounds what a client has chosen.
func clip(s string) string {
	const longest = 1024
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
