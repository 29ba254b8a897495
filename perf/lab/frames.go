package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame as it came in. Tags that the kernel had taken out are back in place.
type Frame struct {
	Data     []byte
	Finished bool // false: the checksum was left to the receiver's hardware, so VerifyChecksums means nothing
	Time     time.Time
}

// FrameSocket sends and receives Ethernet frames on one device, past the host's own stack, which still gets a copy of
// what comes in. What the host itself sends is not seen.
type FrameSocket struct {
	host   *Host
	device string
	socket *socket
	buffer []byte
	oob    []byte
}

// OpenFrames opens a packet socket on a device. Frames are queued from now on (up to 32 MB of them).
func (h *Host) OpenFrames(device string) (*FrameSocket, error) {
	index, err := h.Index(device)
	if err != nil {
		return nil, fmt.Errorf("open frames of %s of %s: %w", device, h.name, err)
	}
	// Opened without a protocol, so that nothing arrives from other devices before it is bound to this one.
	s, err := h.openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
		for _, name := range []int{unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, name, 1); err != nil {
				return fmt.Errorf("set packet option %d: %w", name, err)
			}
		}
		// Promiscuous: else the kernel would tell us of all frames, but a driver with filters might not.
		mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return fmt.Errorf("make promiscuous: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index})
	})
	if err != nil {
		return nil, fmt.Errorf("open frames of %s of %s: %w", device, h.name, err)
	}
	return &FrameSocket{host: h, device: device, socket: s, buffer: make([]byte, 1<<17), oob: make([]byte, 128)}, nil
}

// bigEndian is a 16-bit number whose bytes in memory are in network order.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// Send sends a frame exactly as it is. The device's MTU applies.
func (f *FrameSocket) Send(ctx context.Context, frame []byte) error {
	err := f.socket.write(ctx, func(fd int) error {
		_, err := unix.Write(fd, frame)
		return err
	})
	if err != nil {
		return fmt.Errorf("send frame on %s of %s: %w", f.device, f.host.name, err)
	}
	return nil
}

// Receive returns the next frame, waiting for it.
func (f *FrameSocket) Receive(ctx context.Context) (Frame, error) {
	var n, oobn int
	err := f.socket.read(ctx, func(fd int) (err error) {
		// Behind the first twelve bytes there is room for a tag.
		n, oobn, _, _, err = unix.Recvmsg(fd, f.buffer[4:], f.oob, 0)
		return err
	})
	if err != nil {
		return Frame{}, fmt.Errorf("receive frame on %s of %s: %w", f.device, f.host.name, err)
	}
	frame := Frame{Time: time.Now(), Finished: true}
	start := 4
	if aux, ok := auxiliary(f.oob[:oobn]); ok {
		frame.Finished = aux.Status&unix.TP_STATUS_CSUMNOTREADY == 0
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 && n >= 12 {
			copy(f.buffer, f.buffer[4:16])
			binary.BigEndian.PutUint16(f.buffer[12:], tpidOf(aux))
			binary.BigEndian.PutUint16(f.buffer[14:], aux.Vlan_tci)
			start = 0
		}
	}
	frame.Data = append([]byte(nil), f.buffer[start:4+n]...)
	return frame, nil
}

// Await returns the next frame that the condition holds for, and drops those before it.
func (f *FrameSocket) Await(ctx context.Context, condition func(Frame) bool) (Frame, error) {
	for {
		frame, err := f.Receive(ctx)
		if err != nil || condition(frame) {
			return frame, err
		}
	}
}

// Close closes the socket.
func (f *FrameSocket) Close() error { return f.socket.close() }

// auxiliary finds what the kernel tells beside a frame.
func auxiliary(oob []byte) (aux unix.TpacketAuxdata, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return aux, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 {
			b, native := m.Data, binary.NativeEndian
			return unix.TpacketAuxdata{
				Status: native.Uint32(b), Len: native.Uint32(b[4:]), Snaplen: native.Uint32(b[8:]),
				Mac: native.Uint16(b[12:]), Net: native.Uint16(b[14:]),
				Vlan_tci: native.Uint16(b[16:]), Vlan_tpid: native.Uint16(b[18:]),
			}, true
		}
	}
	return aux, false
}

func tpidOf(aux unix.TpacketAuxdata) uint16 {
	if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		return aux.Vlan_tpid
	}
	return unix.ETH_P_8021Q
}
