package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"weir/mgmt"
)

// Server is the SSH server. It is a mgmt.Service.
type Server struct {
	hostKeyPath string
	limits      Limits
	log, audit  *zap.Logger
	admission   *admission
	failures    failures

	access atomic.Pointer[access]
	next   atomic.Uint64 // number of the next connection

	mu          sync.Mutex
	hostKey     ssh.Signer // nil before the first configuration with SSH
	running     []*listener
	opened      []*listener // prepared
	prepared    *access
	serving     *serving // nil before Serve, and after its end
	connections map[*connection]struct{}
	turns       map[string]chan struct{} // by user: a token for each command that runs

	candidates  candidates // that users have sent
	unfinished  candidates // that sessions left which ended with changes
	configuring configuring
}

// access is who may come in. It is immutable.
type access struct {
	listen   []netip.AddrPort
	users    map[string]mgmt.SSHUser
	hostname string
}

// serving is what Serve was given.
type serving struct {
	ctx    context.Context
	root   *mgmt.Command
	engine *mgmt.Engine
	all    sync.WaitGroup
}

// New returns a server that has its host key, or makes it, at the path.
func New(hostKeyPath string, limits Limits, log *zap.Logger) *Server {
	s := &Server{
		hostKeyPath: hostKeyPath, limits: limits, log: log, audit: log.Named("audit"), admission: newAdmission(limits),
		connections: map[*connection]struct{}{}, turns: map[string]chan struct{}{},
	}
	s.access.Store(&access{})
	return s
}

// Prepare opens the addresses that the configuration adds. Nobody is answered there before Publish.
func (s *Server) Prepare(system mgmt.System) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &access{users: map[string]mgmt.SSHUser{}, hostname: system.Hostname}
	if a.hostname == "" {
		a.hostname, _ = os.Hostname()
	}
	if system.SSH != nil {
		a.listen = system.SSH.Listen
		for _, u := range system.SSH.Users {
			a.users[u.Name] = u
		}
		if s.hostKey == nil {
			key, made, err := hostKey(s.hostKeyPath, s.log)
			if err != nil {
				return fmt.Errorf("serve SSH: %w", err)
			}
			s.hostKey = key
			s.log.Info("SSH host key", zap.String("fingerprint", ssh.FingerprintSHA256(key.PublicKey())), zap.Bool("new", made), zap.String("file", s.hostKeyPath))
		}
	}
	for _, at := range a.listen {
		if slices.ContainsFunc(s.running, func(l *listener) bool { return l.at == at }) {
			continue
		}
		l, err := listen(at, slices.Concat(s.running, s.opened))
		if err != nil {
			s.abort()
			return err
		}
		s.opened = append(s.opened, l)
	}
	s.prepared = a
	return nil
}

// Publish lets in whom the configuration says. Sessions of those that it no longer lets in end.
func (s *Server) Publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access.Store(s.prepared)
	kept := s.opened
	for _, l := range s.running {
		if slices.Contains(s.prepared.listen, l.at) {
			kept = append(kept, l)
		} else {
			l.Close()
			s.log.Info("SSH no longer listens", zap.Stringer("listen", l.at))
		}
	}
	for _, l := range s.opened {
		s.log.Info("SSH listens", zap.Stringer("listen", l.at))
		s.start(l)
	}
	s.running, s.opened, s.prepared = kept, nil, nil
	for c := range s.connections {
		if c.role() == mgmt.NoRole {
			go c.end("your access has been taken away by a commit")
		}
	}
}

// Abort undoes Prepare.
func (s *Server) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
}

func (s *Server) abort() {
	for _, l := range s.opened {
		l.Close()
	}
	s.opened, s.prepared = nil, nil
}

// Serve answers clients, with the commands and with the files of the engine, until ctx ends; then all sessions end.
func (s *Server) Serve(ctx context.Context, engine *mgmt.Engine, commands []*mgmt.Command) {
	serving := &serving{ctx: ctx, root: &mgmt.Command{Commands: commands}, engine: engine}
	s.mu.Lock()
	s.serving = serving
	for _, l := range s.running {
		s.start(l)
	}
	s.mu.Unlock()

	serving.all.Go(func() { s.tellRefused(ctx) })
	<-ctx.Done()
	s.mu.Lock()
	s.serving = nil
	for _, l := range s.running {
		l.Close()
	}
	s.admission.closeAll()
	for c := range s.connections {
		go c.end("the router stops")
	}
	s.mu.Unlock()
	serving.all.Wait()
}

// Close closes what Serve did not: listeners that nobody was answered on.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
	for _, l := range s.running {
		l.Close()
	}
	s.running = nil
}

// start accepts clients on a listener, once there is something to answer them. s.mu is held.
func (s *Server) start(l *listener) {
	if serving := s.serving; serving != nil {
		serving.all.Go(func() { s.accept(serving, l) })
	}
}

func (s *Server) accept(serving *serving, l *listener) {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed) || serving.ctx.Err() != nil:
			return
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
			time.Sleep(10 * time.Millisecond) // out of descriptors for a while; the pause only keeps the loop from spinning
			continue
		default: // of a connection that has gone, as accept(2) says
			continue
		}
		w, ok := s.admission.enter(c)
		if !ok {
			c.Close()
			continue
		}
		serving.all.Go(func() { s.handle(serving, w) })
	}
}

// handle is the life of a connection.
func (s *Server) handle(serving *serving, w *waiting) {
	defer w.Close()
	c, channels, requests, err := s.handshake(serving, w)
	s.admission.leave(w)
	if err != nil {
		s.failures.tell(s.audit, w.RemoteAddr(), err)
		return
	}
	if !s.add(c) {
		return
	}
	defer s.remove(c)
	c.serve(channels, requests)
}

// add makes a connection one of those that Publish and the end of Serve look at.
func (s *Server) add(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil || c.role() == mgmt.NoRole {
		return false
	}
	own := 0
	for other := range s.connections {
		if other.user == c.user {
			own++
		}
	}
	if len(s.connections) >= s.limits.Connections || own >= s.limits.PerUser {
		s.audit.Warn("too many connections", c.fields()...)
		return false
	}
	s.connections[c] = struct{}{}
	return true
}

func (s *Server) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, c)
}

// sessionsOf counts the sessions of a user.
func (s *Server) sessionsOf(user string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.connections {
		if c.user == user {
			c.mu.Lock()
			n += len(c.sessions)
			c.mu.Unlock()
		}
	}
	return n
}

// turn waits until a user may run one more command. Without a release, ctx has ended.
func (s *Server) turn(ctx context.Context, user string) (release func()) {
	s.mu.Lock()
	turns := s.turns[user]
	if turns == nil {
		turns = make(chan struct{}, s.limits.Commands)
		s.turns[user] = turns
	}
	s.mu.Unlock()
	select {
	case turns <- struct{}{}:
		return func() { <-turns }
	case <-ctx.Done():
		return nil
	}
}

// tellRefused logs how many connections were not let in, once a minute at most.
func (s *Server) tellRefused(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if n := s.admission.takeRefused(); n > 0 {
				s.audit.Warn("connections refused or dropped before they were authenticated", zap.Uint64("connections", n))
			}
			s.failures.flush(s.audit)
		}
	}
}
