package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Health is how the data plane is.
type Health struct {
	Trouble []string         // what runs is not what should
	Ports   []string         // that are up
	SSH     []netip.AddrPort // that it listens on
}

// hopeless is for how long a data plane that runs may have trouble before its image is given up: trouble does not pass by itself.
const hopeless = 10 * time.Second

// judge says what is missing for an image to have shown that it works; "": nothing.
func judge(h Health, ports []string, answers func(netip.AddrPort) error) (wrong string) {
	if len(h.Trouble) > 0 {
		return h.Trouble[0]
	}
	var down []string
	for _, p := range ports {
		if !slices.Contains(h.Ports, p) {
			down = append(down, p)
		}
	}
	if len(down) > 0 {
		return "not up, and were before: " + strings.Join(down, ", ")
	}
	for _, at := range h.SSH {
		if err := answers(at); err != nil {
			return fmt.Sprintf("SSH does not answer: %v", err)
		}
	}
	return ""
}

// answersSSH tries whether an SSH server says who it is.
func answersSSH(at netip.AddrPort) error {
	if at.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if at.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		at = netip.AddrPortFrom(loopback, at.Port())
	}
	const patience = 5 * time.Second
	c, err := net.DialTimeout("tcp", at.String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	banner := make([]byte, len("SSH-2.0-"))
	if _, err := io.ReadFull(c, banner); err != nil {
		return fmt.Errorf("read from %s: %w", at, err)
	}
	if string(banner) != "SSH-2.0-" {
		return fmt.Errorf("%s says %q", at, banner)
	}
	return nil
}

// trial has an image that is counted show that it works. It is blessed if it does, and given up if it does not in time and there is
// another; then again is true, for the machine to boot that one.
func (m *machine) trial(ctx context.Context) (again bool) {
	var own Image
	var other bool
	err := m.onESP(ctx, true, func(s slots) (err error) {
		own, err = s.own()
		_, other = s.other()
		return err
	})
	if err != nil {
		m.log("look at the slots: %v", err)
		return false
	}
	if own.Blessed {
		return false
	}
	m.state(func(p *page) { p.Trial = "has to show that it works" })
	u, ok := readUpgrade(m.config())
	if !ok || u.Slot != own.Slot || u.Generation != own.Generation {
		u = Upgrade{} // it is the image that the disk came with
	}
	wrong := m.await(ctx, u.Ports)
	if ctx.Err() != nil {
		return false
	}
	if wrong != "" && !other {
		m.log("this image does not work, and there is no other: %s", wrong)
		m.state(func(p *page) { p.Trial = "does not work, and there is no other: " + wrong })
		return false
	}
	if u.Generation != 0 {
		if u.Outcome, u.Reason = Blessed, ""; wrong != "" {
			u.Outcome, u.Reason = Failed, wrong
		}
		err = writeUpgrade(m.config(), u)
	}
	err = errors.Join(err, m.onESP(ctx, false, func(s slots) error {
		if wrong == "" {
			return s.bless(own)
		}
		return s.giveUp(own)
	}))
	if err != nil {
		m.log("settle the trial of slot %s: %v", own.Slot, err)
	}
	if wrong != "" {
		m.log("slot %s is given up: %s", own.Slot, wrong)
		return true
	}
	m.log("slot %s works, and is kept", own.Slot)
	m.state(func(p *page) { p.Trial = "" })
	return false
}

// await waits until nothing is missing, and returns "", or what still is when it has waited long enough.
func (m *machine) await(ctx context.Context, ports []string) (wrong string) {
	deadline := time.Now().Add(m.options.Trial)
	var troubled time.Time // since when
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		child := m.supervisor.state()
		if child.Phase != Ready {
			troubled = time.Time{}
			wrong = "the data plane does not run: " + string(child.Phase)
			if child.Ended != "" {
				wrong += "; it ended: " + child.Ended
			}
		} else if health, err := m.hooks.Health(ctx); err != nil {
			wrong = fmt.Sprintf("the data plane does not answer: %v", err)
		} else {
			if wrong = judge(health, ports, answersSSH); wrong == "" {
				return ""
			}
			switch {
			case len(health.Trouble) == 0:
				troubled = time.Time{}
			case troubled.IsZero():
				troubled = time.Now()
			case time.Since(troubled) > hopeless:
				return wrong
			}
		}
		if time.Now().After(deadline) {
			return wrong
		}
		select {
		case <-ctx.Done():
			return wrong
		case <-tick.C:
		}
	}
}
