package ssh

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"weir/mgmt"
)

// connection is an authenticated client.
type connection struct {
	server  *Server
	serving *serving
	conn    *ssh.ServerConn
	number  uint64
	user    string
	key     string // wire form
	vyos    bool   // prompts are to look as those of VyOS
	since   time.Time
	ctx     context.Context
	cancel  context.CancelFunc

	active atomic.Int64 // when something last happened, in Unix nanoseconds
	all    sync.WaitGroup

	mu       sync.Mutex
	sessions map[*session]struct{}
	made     int // sessions so far
}

// vyosSuffix behind the name of a user asks for prompts as those of VyOS: clients that drive it wait for a dollar sign. No user's
// name has a plus sign.
const vyosSuffix = "+vyos"

func newConnection(s *Server, serving *serving, conn *ssh.ServerConn, user, key string) *connection {
	ctx, cancel := context.WithCancel(context.Background()) // the end of the server is told first: see end
	c := &connection{
		server: s, serving: serving, conn: conn, number: s.next.Add(1), user: user, key: key, vyos: strings.HasSuffix(conn.User(), vyosSuffix), since: time.Now(),
		ctx: ctx, cancel: cancel, sessions: map[*session]struct{}{},
	}
	c.touch()
	return c
}

// role is what the client may do now.
func (c *connection) role() mgmt.Role { return c.server.access.Load().role(c.user, c.key) }

// name is what prompts begin with.
func (c *connection) name() string { return c.user + "@" + c.server.access.Load().hostname }

func (c *connection) author() mgmt.Author {
	return mgmt.Author{User: c.user, Source: c.conn.RemoteAddr().String(), Fingerprint: mgmt.SSHKey{Blob: []byte(c.key)}.Fingerprint(), Via: "ssh"}
}

// fields say who it is, for the log.
func (c *connection) fields(more ...zap.Field) []zap.Field {
	by := c.author()
	return append([]zap.Field{
		zap.Uint64("connection", c.number), zap.String("user", by.User), zap.String("from", by.Source), zap.String("key", by.Fingerprint),
	}, more...)
}

func (c *connection) touch() { c.active.Store(time.Now().UnixNano()) }

func (c *connection) idle() time.Duration { return time.Since(time.Unix(0, c.active.Load())) }

// serve answers the client until he is gone.
func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.server.audit.Info("connected", c.fields(zap.Stringer("role", c.role()), zap.String("client", clip(string(c.conn.ClientVersion()))))...)
	c.all.Go(func() { ssh.DiscardRequests(requests) })
	c.all.Go(c.watch)
	for open := range channels {
		c.open(open)
	}
	c.cancel()
	c.conn.Close()
	c.all.Wait()
	c.server.audit.Info("disconnected", c.fields(zap.Duration("after", time.Since(c.since)))...)
}

// open makes a session of a channel. There are no other channels: nothing is forwarded.
func (c *connection) open(open ssh.NewChannel) {
	if open.ChannelType() != "session" {
		open.Reject(ssh.Prohibited, "this router offers sessions only: no forwarding")
		return
	}
	c.mu.Lock()
	full := len(c.sessions) >= c.server.limits.Sessions
	c.mu.Unlock()
	if full || c.server.sessionsOf(c.user) >= c.server.limits.AllSessions {
		open.Reject(ssh.ResourceShortage, "too many sessions")
		return
	}
	channel, requests, err := open.Accept()
	if err != nil {
		return // the client is gone
	}
	s := newSession(c, channel)
	c.mu.Lock()
	c.made++
	s.number = c.made
	c.sessions[s] = struct{}{}
	c.mu.Unlock()
	c.all.Go(func() {
		defer func() {
			c.mu.Lock()
			delete(c.sessions, s)
			c.mu.Unlock()
		}()
		s.serve(requests)
	})
}

// watch asks now and then whether the client is there, and ends a connection that is not, or that nothing happens on.
func (c *connection) watch() {
	limits := c.server.limits
	tick := time.NewTicker(limits.KeepAlive)
	defer tick.Stop()
	answers := make(chan struct{}, 1)
	asked := false
	missed := 0
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-answers:
			asked, missed = false, 0
			continue
		case <-tick.C:
		}
		if !c.busy() && c.idle() > limits.Idle {
			c.end("nothing has happened for " + limits.Idle.String())
			return
		}
		if asked {
			if missed++; missed >= limits.Missed {
				c.server.audit.Warn("client does not answer", c.fields()...)
				c.conn.Close()
				return
			}
			continue // the question is under way still, or cannot even be sent
		}
		asked = true
		go func() { // ends with the connection at the latest
			if _, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil); err == nil {
				answers <- struct{}{}
			}
		}()
	}
}

// busy reports whether a command runs.
func (c *connection) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if s.running() != "" {
			return true
		}
	}
	return false
}

// endPatience is how long a command may take to say its last words when its connection is ended.
const endPatience = 2 * time.Second

// end tells the client why, and closes the connection when what runs has ended, or does not.
func (c *connection) end(why string) {
	c.server.audit.Info("ending", c.fields(zap.String("why", why))...)
	time.AfterFunc(endPatience, func() { c.conn.Close() })
	c.mu.Lock()
	sessions := make([]*session, 0, len(c.sessions))
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()
	var ended sync.WaitGroup
	for _, s := range sessions {
		ended.Go(func() { s.end(why) })
	}
	ended.Wait()
	c.cancel()
	c.conn.Close()
}
