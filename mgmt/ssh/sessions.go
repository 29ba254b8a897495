package ssh

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"weir/mgmt"
)

// SessionState is a session, for show sessions.
type SessionState struct {
	Connection uint64    `json:"connection"`
	Session    int       `json:"session"` // of the connection; 0: it has none
	User       string    `json:"user"`
	Role       mgmt.Role `json:"role"`
	From       string    `json:"from"`
	Key        string    `json:"key"`
	Since      time.Time `json:"since"`
	Idle       float64   `json:"idle_seconds"`
	Runs       string    `json:"runs,omitempty"`
}

// Sessions lists who is logged in, in the order in which they came.
func (s *Server) Sessions() (list []SessionState) {
	s.mu.Lock()
	connections := make([]*connection, 0, len(s.connections))
	for c := range s.connections {
		connections = append(connections, c)
	}
	s.mu.Unlock()
	for _, c := range connections {
		by := c.author()
		state := SessionState{Connection: c.number, User: by.User, Role: c.role(), From: by.Source, Key: by.Fingerprint, Since: c.since, Idle: c.idle().Seconds()}
		c.mu.Lock()
		for x := range c.sessions {
			one := state
			one.Session, one.Since, one.Runs = x.number, x.since, x.running()
			list = append(list, one)
		}
		if len(c.sessions) == 0 {
			list = append(list, state)
		}
		c.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b SessionState) int {
		return cmp.Or(cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Session, b.Session))
	})
	return list
}

// Command is `sessions`, for the command tree.
func (s *Server) Command() *mgmt.Command {
	return &mgmt.Command{Name: "sessions", Help: "who is logged in by SSH, and what runs", Run: func(_ context.Context, r *mgmt.Request) (any, error) {
		if len(r.Args) > 0 {
			return nil, &mgmt.UsageError{Message: "show sessions takes no arguments"}
		}
		list := s.Sessions()
		if r.JSON {
			return append([]SessionState{}, list...), nil
		}
		var b bytes.Buffer
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "USER\tROLE\tFROM\tSINCE\tIDLE\tRUNS")
		for _, x := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.User, x.Role, x.From, x.Since.Format(time.DateTime),
				time.Duration(x.Idle*float64(time.Second)).Truncate(time.Second), mgmt.Escape(clip(x.Runs)))
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		return b.String(), nil
	}}
}
