package ssh

import "time"

// Limits bound what clients can take of the router.
type Limits struct {
	Handshake        time.Duration // until a connection must be authenticated
	Waiting          int           // connections that are not yet
	WaitingPerSource int           // of them, from one IPv4 address or one IPv6 /64
	Rate, Burst      float64       // new connections of a source: a second, and at once
	Tries            int           // to authenticate, on a connection

	Connections int           // authenticated
	PerUser     int           // of them, of one user: so that nobody keeps the others out
	Sessions    int           // of a connection, at a time: each may have 2 MiB of what its client sends in memory
	AllSessions int           // of a user, on all his connections
	Commands    int           // of a user, at a time, whose output is in memory until he has taken it; more wait for their turn
	Idle        time.Duration // without a command or a key pressed
	KeepAlive   time.Duration // between questions whether the client is there
	Missed      int           // unanswered ones that end the connection
	Take        time.Duration // for the client to take 32 KiB of output
}

// DefaultLimits are those of the router.
var DefaultLimits = Limits{
	Handshake: 20 * time.Second, Waiting: 64, WaitingPerSource: 16, Rate: 20, Burst: 100, Tries: 6,
	Connections: 256, PerUser: 64, Sessions: 10, AllSessions: 64, Commands: 8, Idle: time.Hour, KeepAlive: 30 * time.Second, Missed: 3, Take: time.Minute,
}

const (
	lineMax     = 64 << 10 // bytes of a command line
	envMax      = 64       // bytes of the value of a variable
	columnsMax  = 1000     // of a terminal
	versionText = "SSH-2.0-weir"
)
