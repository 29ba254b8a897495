package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/perf/lab"
)

// sourcePort is that of a TCP or UDP probe: chosen here, so that weir explain is asked about the very packet that is
// sent, and another one each time, since TCP does not give one back at once.
func sourcePort(number uint32) uint16 { return uint16(40000 + number) }

const (
	udpPackets = 1000
	udpRate    = 10000 // packets per second
	udpSize    = 200   // bytes

	probeTimeout = 5 * time.Second
)

// outcome is what really became of a probe.
type outcome struct {
	arrived []string  // hosts where it arrived
	refused *lab.ICMP // the error that came back
	detail  string    // how well it went
	err     error
}

// services listen at the uplinks, on every address that stands for the world.
type services struct {
	uplinks map[string]*lab.Host
	udp     map[string]map[netip.AddrPort]*lab.UDPReceiver // by host and address

	mu      sync.Mutex
	pings   map[uint16][]string // by echo identifier: hosts that heard it
	heard   chan struct{}       // closed and replaced with every ping
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

func startServices(n *network) (*services, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &services{
		uplinks: map[string]*lab.Host{uplink0: n.hosts[uplink0], uplink1: n.hosts[uplink1]},
		udp:     make(map[string]map[netip.AddrPort]*lab.UDPReceiver), pings: make(map[uint16][]string),
		heard: make(chan struct{}), cancel: cancel,
	}
	for name, h := range s.uplinks {
		if err := s.serve(ctx, name, h); err != nil {
			s.stop()
			return nil, fmt.Errorf("start services of %s: %w", name, err)
		}
	}
	return s, nil
}

func (s *services) serve(ctx context.Context, name string, h *lab.Host) error {
	s.udp[name] = make(map[netip.AddrPort]*lab.UDPReceiver)
	for _, service := range [][2]string{known, unknown, walled, refused} {
		for _, text := range service {
			for _, port := range servicePorts {
				address := netip.AddrPortFrom(netip.MustParseAddr(text), port)
				receiver, err := h.ListenUDP(address)
				if err != nil {
					return err
				}
				s.udp[name][address] = receiver
				if _, err := h.ListenTCP(address); err != nil {
					return err
				}
			}
		}
	}
	for _, ipv6 := range []bool{false, true} {
		listener, err := h.ListenICMP(ipv6)
		if err != nil {
			return err
		}
		s.workers.Go(func() { s.listen(ctx, name, listener) })
	}
	return nil
}

// listen notes which echo requests arrive at a host.
func (s *services) listen(ctx context.Context, name string, listener *lab.ICMPListener) {
	defer listener.Close()
	for {
		m, err := listener.Next(ctx)
		if err != nil {
			return
		}
		request := uint8(lab.ICMPEchoRequest)
		if m.From.Is6() {
			request = lab.ICMPv6EchoRequest
		}
		if m.Type != request {
			continue
		}
		s.mu.Lock()
		s.pings[m.ID()] = append(s.pings[m.ID()], name)
		close(s.heard)
		s.heard = make(chan struct{})
		s.mu.Unlock()
	}
}

// stop ends the listening for pings; the laboratory ends the rest.
func (s *services) stop() {
	s.cancel()
	s.workers.Wait()
}

// whoHeard returns the hosts that an echo request arrived at. With wait, it waits for the first.
func (s *services) whoHeard(ctx context.Context, id uint16, wait bool) []string {
	for {
		s.mu.Lock()
		hosts, heard := slices.Clone(s.pings[id]), s.heard
		s.mu.Unlock()
		if len(hosts) > 0 || !wait {
			return hosts
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return nil
		}
	}
}

// probe sends one flow by one protocol and looks where it arrives.
func (s *services) probe(ctx context.Context, from *lab.Host, f flow, e ends, p protocol, number uint32, tcpBytes int64) outcome {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout+time.Duration(tcpBytes>>20)*time.Second/8)
	defer cancel()
	options := lab.IPOptions{Source: e.from, TOS: f.tos}
	to := netip.AddrPortFrom(e.to, f.dport)
	switch p {
	case icmp:
		return s.probePing(ctx, from, lab.PingOptions{IPOptions: options, To: e.to, ID: uint16(number), Timeout: probeTimeout})
	case tcp:
		result, err := from.SendTCP(ctx, lab.TCPOptions{IPOptions: options, To: to, SourcePort: sourcePort(number), Bytes: tcpBytes})
		if err != nil {
			return outcome{err: err}
		}
		return outcome{arrived: []string{result.Server}, detail: fmt.Sprintf("%s, %s", size(result.Bytes), rate(result.BitsPerSecond()))}
	default:
		return s.probeUDP(ctx, from, lab.UDPOptions{
			IPOptions: options, To: to, SourcePort: sourcePort(number), Flow: number, Size: udpSize, Rate: udpRate, Count: udpPackets,
		})
	}
}

func (s *services) probePing(ctx context.Context, from *lab.Host, o lab.PingOptions) outcome {
	echo, err := from.Ping(ctx, o)
	if err != nil {
		return outcome{arrived: s.whoHeard(ctx, o.ID, false), err: err}
	}
	if echo.Error != nil {
		return outcome{arrived: s.whoHeard(ctx, o.ID, false), refused: echo.Error, detail: echo.Error.String()}
	}
	return outcome{arrived: s.whoHeard(ctx, o.ID, true), detail: fmt.Sprintf("%.2f ms", float64(echo.RTT.Microseconds())/1000)}
}

func (s *services) probeUDP(ctx context.Context, from *lab.Host, o lab.UDPOptions) outcome {
	arrived := s.awaitUDP(ctx, o.To, o.Count)
	sent, err := from.SendUDP(ctx, o)
	if err != nil {
		return outcome{err: err}
	}
	<-arrived
	var out outcome
	for name := range s.uplinks {
		report := s.udp[name][o.To].Report().Flows[o.Flow]
		if report.Received == 0 {
			continue
		}
		out.arrived = append(out.arrived, name)
		out.detail = fmt.Sprintf("%d of %d, %s", report.Unique, sent.Packets, rate(sent.Rate()*float64(o.Size)*8))
		if report.Lost(sent.Packets) > 0 || report.Duplicated > 0 || report.Damaged > 0 {
			out.err = fmt.Errorf("%d lost, %d duplicated, %d damaged", report.Lost(sent.Packets), report.Duplicated, report.Damaged)
		}
	}
	slices.Sort(out.arrived)
	return out
}

// awaitUDP closes its result when one of the uplinks has received that many more datagrams, or when ctx ends.
func (s *services) awaitUDP(ctx context.Context, to netip.AddrPort, count uint64) <-chan struct{} {
	arrived := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	for name := range s.uplinks {
		receiver := s.udp[name][to]
		before := receiver.Report()
		waiting.Go(func() {
			defer cancel()
			_ = receiver.WaitCount(ctx, before.Received+before.Foreign+count)
		})
	}
	go func() {
		waiting.Wait()
		cancel()
		close(arrived)
	}()
	return arrived
}

// judge compares what weir said with what happened. nil: they agree.
func judge(d decision, o outcome) error {
	var want []string
	if d.Verdict == "forward" {
		want = []string{uplinkOf[d.Port]}
	}
	if !slices.Equal(o.arrived, want) {
		return errors.Join(fmt.Errorf("arrived at %s, not at %s", list(o.arrived), list(want)), o.err)
	}
	if d.Verdict == "forward" {
		return o.err
	}
	switch {
	case d.ICMP == nil && o.refused == nil:
		return nil
	case d.ICMP == nil:
		return fmt.Errorf("refused by ICMP %s", o.refused)
	case o.refused == nil:
		return errors.Join(fmt.Errorf("no ICMP %d/%d came back", d.ICMP.Type, d.ICMP.Code), o.err)
	case o.refused.Type != d.ICMP.Type || o.refused.Code != d.ICMP.Code:
		return fmt.Errorf("ICMP %s, not %d/%d", o.refused, d.ICMP.Type, d.ICMP.Code)
	}
	return nil
}

// expect compares what weir said with what the example means. nil: they agree.
func expect(f flow, d decision) error {
	if f.uplink == "" && d.Verdict != "prohibit" || f.uplink != "" && (d.Verdict != "forward" || uplinkOf[d.Port] != f.uplink) {
		return fmt.Errorf("weir decides %s, but the example means %q", d, f.uplink)
	}
	return nil
}

func list(hosts []string) string {
	if len(hosts) == 0 {
		return "no uplink"
	}
	return strings.Join(hosts, " and ")
}
