package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// VLANOptions describe a tagged interface.
type VLANOptions struct {
	Tags      []uint16 // one or two VLAN identifiers, outer first
	TPIDs     []uint16 // their types; nil: 0x8100 each
	Priority  uint8    // 0..7, put into the tags on the way out
	Addresses []string
	MTU       int              // 0: the parent's, less what the tags take beyond one of type 0x8100
	MAC       net.HardwareAddr // nil: the parent's
	At        *Host            // that has the interface, as if a switch led to it; nil: that of the parent
}

// VLAN is a tagged interface on a device, for kernels that have no 802.1Q of their own: a TAP device, on which the
// host's own stack runs, and a relay in this process that carries its frames to and from the device, pushing the tags
// on the way out, requiring and removing them on the way in.
//
// The device must be one end of a Link. Merging of segments is forbidden on it (Host.ForbidMerging), since merged
// frames would be longer than the MTU.
type VLAN struct {
	host   *Host
	name   string
	parent string
	tags   []byte // as they stand in a frame
	tap    *socket
	frames *FrameSocket
	cancel context.CancelFunc
	relays sync.WaitGroup
	forget func()

	out, in, other, dropped atomic.Uint64
}

// VLANCounters count the frames of a VLAN's relay.
type VLANCounters struct {
	Out, In uint64 // relayed
	Other   uint64 // came in with other tags, or none
	Dropped uint64 // refused by a device
}

// VLAN makes the interface name on the device parent of the host. It is up when it returns. The laboratory removes it
// if Close does not.
func (l *Lab) VLAN(h *Host, parent, name string, o VLANOptions) (*VLAN, error) {
	at := h
	if o.At != nil {
		at = o.At
	}
	v := &VLAN{host: at, name: name, parent: parent}
	fail := func(err error) (*VLAN, error) {
		return nil, errors.Join(fmt.Errorf("make VLAN %s on %s of %s: %w", name, parent, h.name, err), v.Close())
	}
	if len(o.Tags) < 1 || len(o.Tags) > 2 || (o.TPIDs != nil && len(o.TPIDs) != len(o.Tags)) {
		return fail(fmt.Errorf("%d tags, %d types", len(o.Tags), len(o.TPIDs)))
	}
	for i, id := range o.Tags {
		if id > 4094 || o.Priority > 7 {
			return fail(fmt.Errorf("identifier %d, priority %d", id, o.Priority))
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if o.TPIDs != nil {
			tpid = o.TPIDs[i]
		}
		v.tags = binary.BigEndian.AppendUint16(v.tags, tpid)
		v.tags = binary.BigEndian.AppendUint16(v.tags, uint16(o.Priority)<<13|id)
	}
	if err := h.ForbidMerging(parent); err != nil {
		return fail(err)
	}
	var err error
	if o.MAC == nil {
		if o.MAC, err = h.MAC(parent); err != nil {
			return fail(err)
		}
	}
	if o.MTU == 0 {
		if o.MTU, err = h.MTU(parent); err != nil {
			return fail(err)
		}
		o.MTU -= len(v.tags)
		if binary.BigEndian.Uint16(v.tags) == unix.ETH_P_8021Q {
			o.MTU += 4 // packet sockets may send one such tag beyond the MTU (packet_snd in net/packet/af_packet.c)
		}
	}
	if v.tap, err = at.openTAP(name); err != nil {
		return fail(err)
	}
	if v.frames, err = h.OpenFrames(parent); err != nil {
		return fail(err)
	}
	if err := errors.Join(at.SetMAC(name, o.MAC), at.SetMTU(name, o.MTU), at.markOwn(name)); err != nil {
		return fail(err)
	}
	for _, a := range o.Addresses {
		if err := at.AddAddress(name, a); err != nil {
			return fail(err)
		}
	}
	if err := at.SetUp(name); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.relays.Go(func() { v.relayOut(ctx) })
	v.relays.Go(func() { v.relayIn(ctx) })
	if v.forget, err = l.onClose(v.Close); err != nil {
		return nil, err
	}
	if err := at.WaitUp(ctx, name); err != nil {
		return fail(err)
	}
	return v, nil
}

// Name is the interface's name.
func (v *VLAN) Name() string { return v.name }

// Counters are those of the relay so far.
func (v *VLAN) Counters() VLANCounters {
	return VLANCounters{Out: v.out.Load(), In: v.in.Load(), Other: v.other.Load(), Dropped: v.dropped.Load()}
}

// Close ends the relay and removes the interface. Closing twice is no error.
func (v *VLAN) Close() error {
	if v.cancel != nil {
		v.cancel()
		v.relays.Wait()
	}
	if v.forget != nil {
		v.forget()
	}
	var errs []error
	if v.frames != nil {
		errs = append(errs, v.frames.Close())
	}
	if v.tap != nil {
		errs = append(errs, v.tap.close())
	}
	return errors.Join(errs...)
}

// relayOut carries frames of the host's stack to the device, with tags.
func (v *VLAN) relayOut(ctx context.Context) {
	buffer := make([]byte, 1<<17)
	room := len(v.tags)
	for {
		var n int
		err := v.tap.read(ctx, func(fd int) (err error) {
			n, err = unix.Read(fd, buffer[room:])
			return err
		})
		if ctx.Err() != nil || isClosed(err) {
			return
		}
		if err != nil || n < 14 {
			v.dropped.Add(1)
			continue
		}
		copy(buffer, buffer[room:room+12]) // the MACs move forward, the tags fill the room behind them
		copy(buffer[12:], v.tags)
		if err := v.frames.Send(ctx, buffer[:room+n]); err != nil {
			v.dropped.Add(1)
			continue
		}
		v.out.Add(1)
	}
}

// relayIn carries frames with the right tags to the host's stack, without tags.
func (v *VLAN) relayIn(ctx context.Context) {
	for {
		frame, err := v.frames.Receive(ctx)
		if ctx.Err() != nil || isClosed(err) {
			return
		}
		if err != nil {
			v.dropped.Add(1) // the device is down, for example
			continue
		}
		data := frame.Data
		if !v.matches(data) {
			v.other.Add(1)
			continue
		}
		copy(data[len(v.tags):], data[:12])
		err = v.tap.write(ctx, func(fd int) error {
			_, err := unix.Write(fd, data[len(v.tags):])
			return err
		})
		if err != nil {
			v.dropped.Add(1)
			continue
		}
		v.in.Add(1)
	}
}

// matches reports whether the frame has exactly the VLAN's tags; the priority bits may differ.
func (v *VLAN) matches(frame []byte) bool {
	if len(frame) < 14+len(v.tags) {
		return false
	}
	for i := 0; i < len(v.tags); i += 4 {
		got, want := binary.BigEndian.Uint32(frame[12+i:]), binary.BigEndian.Uint32(v.tags[i:])
		if (got^want)&0xffff0fff != 0 {
			return false
		}
	}
	switch binary.BigEndian.Uint16(frame[12+len(v.tags):]) {
	case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
		return false // one more tag: another VLAN's
	}
	return true
}
