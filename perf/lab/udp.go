package lab

import (
	"bytes"
	"encoding/binary"
)

// A datagram of a stream, big endian: magic number (4 bytes), flow (4), sequence number within the flow from 0 (8),
// then a pattern that the sequence number determines.
const (
	udpMagic       = 0x57e11ab5
	udpHeaderBytes = 16

	// udpSizeMin makes the smallest Ethernet frame with IPv4: 60 bytes without the check sequence.
	udpSizeMin = 18
)

// udpPattern has every byte value in turn; a datagram's filling starts at its sequence number modulo 256.
var udpPattern = func() []byte {
	p := make([]byte, 256+1<<16)
	for i := range p {
		p[i] = byte(i * 31)
	}
	return p
}()

func putDatagram(b []byte, flow uint32, seq uint64) {
	binary.BigEndian.PutUint32(b, udpMagic)
	binary.BigEndian.PutUint32(b[4:], flow)
	binary.BigEndian.PutUint64(b[8:], seq)
	copy(b[udpHeaderBytes:], udpPattern[seq&255:])
}

// parseDatagram returns ok false for a datagram of somebody else, and intact false for a damaged filling.
func parseDatagram(b []byte) (flow uint32, seq uint64, intact, ok bool) {
	if len(b) < udpHeaderBytes || binary.BigEndian.Uint32(b) != udpMagic {
		return 0, 0, false, false
	}
	flow, seq = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])
	filling := b[udpHeaderBytes:]
	return flow, seq, bytes.Equal(filling, udpPattern[seq&255:][:len(filling)]), true
}
