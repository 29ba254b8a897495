package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoAnswer is returned by Host.Ping when nothing came back in time.
var ErrNoAnswer = errors.New("no answer")

// PingOptions describe one echo request.
type PingOptions struct {
	IPOptions
	To      netip.Addr
	ID, Seq uint16        // ID 0: one that no other ping of this process has
	Size    int           // bytes of data; 0: 56
	Timeout time.Duration // 0: 2 s
}

// Echo is what came back for an echo request: a reply, or an ICMP error.
type Echo struct {
	ID, Seq uint16
	From    netip.Addr    // who answered
	RTT     time.Duration // from before the send to after the receive
	TTL     int           // or hop limit, of the answer on arrival
	TOS     int           // or traffic class, of the answer
	Error   *ICMP         // nil: a reply
}

var pingID atomic.Uint32

// Ping sends one ICMP or ICMPv6 echo request and waits for the reply with the same identifier, sequence number and
// data, or for an ICMP error that quotes the request. Neither in time: ErrNoAnswer.
func (h *Host) Ping(ctx context.Context, o PingOptions) (Echo, error) {
	fail := func(err error) (Echo, error) {
		return Echo{}, fmt.Errorf("ping %s from %s: %w", o.To, h.name, err)
	}
	if o.ID == 0 {
		o.ID = uint16(pingID.Add(1)%0xfffe + 1)
	}
	if o.Size == 0 {
		o.Size = 56
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	ipv6 := o.To.Is6()
	listener, err := h.listenICMP(ipv6, o.IPOptions)
	if err != nil {
		return fail(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, ErrNoAnswer)
	defer cancel()

	request := echoRequest(o, ipv6)
	start := time.Now()
	err = listener.socket.write(ctx, func(fd int) error {
		return unix.Sendto(fd, request, 0, sockaddr(netip.AddrPortFrom(o.To, 0)))
	})
	if err != nil {
		return fail(fmt.Errorf("send: %w", err))
	}
	replyType := uint8(ICMPEchoReply)
	if ipv6 {
		replyType = ICMPv6EchoReply
	}
	for {
		m, err := listener.Next(ctx)
		if err != nil {
			return fail(err)
		}
		echo := Echo{ID: o.ID, Seq: o.Seq, From: m.From, RTT: m.Time.Sub(start), TTL: m.TTL, TOS: m.TOS}
		switch {
		case m.Type == replyType && m.ID() == o.ID && m.Seq() == o.Seq:
			if !bytes.Equal(m.Body, request[8:]) {
				return fail(fmt.Errorf("reply from %s carries other data", m.From))
			}
			return echo, nil
		case m.IsError() && m.Quoted.To == o.To && m.Quoted.EchoID == o.ID && m.Quoted.EchoSeq == o.Seq &&
			m.Type != ICMPRedirect && m.Type != ICMPv6Redirect: // after a redirect, the reply still comes
			echo.Error = &m
			return echo, nil
		}
	}
}

func echoRequest(o PingOptions, ipv6 bool) []byte {
	b := make([]byte, 8+o.Size)
	b[0] = ICMPEchoRequest
	binary.BigEndian.PutUint16(b[4:], o.ID)
	binary.BigEndian.PutUint16(b[6:], o.Seq)
	for i := range o.Size {
		b[8+i] = byte(i) ^ byte(o.Seq) ^ byte(o.ID)
	}
	if ipv6 {
		b[0] = ICMPv6EchoRequest // the kernel writes the checksum of ICMPv6
		return b
	}
	binary.BigEndian.PutUint16(b[2:], ^fold(sum(0, b)))
	return b
}
