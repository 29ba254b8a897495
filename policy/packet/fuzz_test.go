package packet

import (
	"bytes"
	"testing"
)

// seeds hands the fuzzer every frame of the table tests.
func seeds(add func(frame []byte)) {
	for _, s := range samples() {
		add(s.frame)
	}
	for _, d := range drops() {
		if len(d.frame) < 2048 {
			add(d.frame)
		}
	}
	v6 := v6Frame()
	add(withExtensions(v6, extension{extFragment, 1}))
	add(withExtensions(v6, extension{extFragment, 8}))
	add(withExtensions(v6, extension{extRouting, 2}, extension{extAuth, 4}, extension{extFragment, 0}))
	add(fixIPv4(edited(samples()[0].frame, EthernetHeaderLen+6, 0x20)))
	add(fixIPv4(edited(samples()[0].frame, EthernetHeaderLen+7, 1)))
}

// repaired makes a frame that Parse would drop for its checksum into one that it looks into: fuzzers do not guess
// checksums. It works on a copy.
func repaired(frame []byte) []byte {
	var k Key
	if Parse(frame, &k) != BadChecksum {
		return frame
	}
	l3 := k.L3()
	fixed := fixIPv4(append([]byte(nil), frame[l3-EthernetHeaderLen:]...))
	return append(append([]byte(nil), frame[:l3-EthernetHeaderLen]...), fixed...)
}

// checkKey asserts what holds of the Key of every accepted frame.
func checkKey(t *testing.T, frame []byte, k *Key) {
	t.Helper()
	end := k.L3() + int(k.Length)
	header := IPv4HeaderLen
	if k.Family == IPv6 {
		header = IPv6HeaderLen
	}
	switch {
	case k.Family != IPv4 && k.Family != IPv6:
		t.Errorf("family %d", k.Family)
	case k.Tags > MaxVLANTags || k.VLAN[0] > 4095 || k.VLAN[1] > 4095:
		t.Errorf("%d tags, VLANs %v", k.Tags, k.VLAN)
	case int(k.Length) < header || end > len(frame):
		t.Errorf("packet of %d bytes at %d in a frame of %d", k.Length, k.L3(), len(frame))
	case k.L4 != 0 && (int(k.L4) < k.L3()+header || int(k.L4) >= end):
		t.Errorf("L4 header at %d, packet ends at %d", k.L4, end)
	case k.L4 != 0 && k.Proto == ProtoTCP && int(k.L4)+20 > end,
		k.L4 != 0 && k.Proto == ProtoUDP && int(k.L4)+8 > end,
		k.L4 != 0 && (k.Proto == ProtoICMP || k.Proto == ProtoICMPv6) && int(k.L4)+4 > end:
		t.Errorf("header of protocol %d at %d, packet ends at %d", k.Proto, k.L4, end)
	case k.Proto != ProtoTCP && k.Proto != ProtoUDP && (k.SrcPort != 0 || k.DstPort != 0):
		t.Errorf("protocol %d has ports", k.Proto)
	case k.Fragment == FragmentLater && (k.L4 != 0 || k.SrcPort != 0 || k.DstPort != 0 || k.ICMPType != 0 || k.TCPFlags != 0):
		t.Error("a later fragment has an L4 header")
	case k.Family == IPv6 && !k.DontFragment:
		t.Error("IPv6 without DontFragment")
	case k.FlowLabel > 1<<20-1 || k.Family == IPv4 && k.FlowLabel != 0:
		t.Errorf("flow label %#x", k.FlowLabel)
	case k.Mark != 0 || k.Ingress != 9:
		t.Errorf("mark %d, ingress %d", k.Mark, k.Ingress)
	}
	if k.Fragment != FragmentNone {
		DatagramID(frame, k)
	}
	if k.Family == IPv4 && plainSum(frame[k.L3():k.L3()+int(frame[k.L3()]&15)*4]) != 0xffff {
		t.Error("IPv4 header checksum is wrong")
	}
}

func FuzzParse(f *testing.F) {
	seeds(func(frame []byte) { f.Add(frame) })
	f.Fuzz(func(t *testing.T, frame []byte) {
		frame = repaired(frame)
		frame = frame[:len(frame):len(frame)] // reading beyond it panics
		before := append([]byte(nil), frame...)
		k := Key{Ingress: 9, Mark: 1, L4: 3, SrcPort: 5, TCPFlags: 7}
		reason := Parse(frame, &k)
		if !bytes.Equal(frame, before) {
			t.Error("Parse wrote to the frame")
		}
		if reason != None {
			if reason >= UnknownVLAN {
				t.Errorf("reason %v is not Parse's", reason)
			}
			return
		}
		checkKey(t, frame, &k)
	})
}

func FuzzRewrite(f *testing.F) {
	seeds(func(frame []byte) { f.Add(frame, uint8(46), uint8(1), uint16(100), uint16(0xffff), uint16(64)) })
	f.Fuzz(func(t *testing.T, frame []byte, dscp, tags uint8, outer, inner, headroom uint16) {
		frame = repaired(frame)
		k := Key{Ingress: 9}
		if Parse(frame, &k) != None {
			return
		}
		start := int(headroom % 512)
		buf := make([]byte, start+len(frame))
		copy(buf[start:], frame)
		packet := append([]byte(nil), frame[k.L3():k.L3()+int(k.Length)]...)
		parsed := k

		DecrementTTL(buf[start:], &k)
		SetDSCP(buf[start:], &k, dscp%64)
		link := Link{VLAN: [2]uint16{outer, inner}, Tags: tags}
		newStart, length, ok := Encap(buf, start, len(frame), &k, &link)
		if want := tags <= 2 && start+parsed.L3() >= EthernetHeaderLen+int(tags)*VLANTagLen; ok != want {
			t.Fatalf("Encap with headroom %d, %d tags to %d: ok %v", start, parsed.Tags, tags, ok)
		}
		got := Key{Ingress: 9}
		if reason := Parse(buf[newStart:newStart+length], &got); reason != None {
			t.Fatalf("rewritten frame is dropped: %v", reason)
		}
		checkKey(t, buf[newStart:newStart+length], &got)
		if got != k {
			t.Errorf("Key of the rewritten frame:\n%+v, kept\n%+v", got, k)
		}

		want := parsed
		want.TTL = max(parsed.TTL, 1) - 1
		want.TOS = dscp%64<<2 | parsed.TOS&3
		if ok {
			want.Tags, want.VLAN = k.Tags, k.VLAN
			if want.L4 != 0 {
				want.L4 = uint16(int(parsed.L4) - parsed.L3() + k.L3())
			}
		}
		if got != want {
			t.Errorf("Key of the rewritten frame:\n%+v, want\n%+v", got, want)
		}
		// Behind the first 12 bytes of the IP header, which hold all that the edits change, nothing moved.
		rewritten := buf[newStart+k.L3():][:k.Length]
		if !bytes.Equal(rewritten[12:], packet[12:]) {
			t.Error("bytes behind the edited fields changed")
		}
	})
}

func FuzzBuildError(f *testing.F) {
	seeds(func(frame []byte) { f.Add(frame, uint8(3), uint8(1), uint32(1400), uint16(MaxErrorFrameLen)) })
	f.Fuzz(func(t *testing.T, frame []byte, icmpType, code uint8, info uint32, room uint16) {
		frame = repaired(frame)
		k := Key{Ingress: 9}
		if Parse(frame, &k) != None {
			return
		}
		e := Error{Source: router4, Info: info, Type: icmpType, Code: code}
		proto, limit := ProtoICMP, 576
		if k.Family == IPv6 {
			e.Source, proto, limit = router6, ProtoICMPv6, 1280
		}
		dst := make([]byte, room%2048)
		n, ok := BuildError(dst, frame, &k, e)
		if !ok {
			return
		}
		answer := Key{Ingress: 9}
		if reason := Parse(dst[:n], &answer); reason != None {
			t.Fatalf("answer is dropped: %v", reason)
		}
		checkKey(t, dst[:n], &answer)
		if int(answer.Length) > limit || n != EthernetHeaderLen+int(answer.Length) {
			t.Errorf("answer of %d bytes in a frame of %d", answer.Length, n)
		}
		if answer.Dst != k.Src || answer.Proto != proto || answer.ICMPType != icmpType || answer.ICMPCode != code || answer.TTL != 64 {
			t.Errorf("answer %+v to %+v", answer, k)
		}
		message := dst[answer.L4:n]
		sum := uint32(plainSum(message))
		if k.Family == IPv6 {
			pseudo := append(append([]byte(nil), answer.Src[:]...), answer.Dst[:]...)
			pseudo = append(pseudo, 0, 0, byte(len(message)>>8), byte(len(message)), 0, 0, 0, ProtoICMPv6)
			sum = uint32(plainSum(append(pseudo, message...)))
		}
		if sum != 0xffff {
			t.Errorf("ICMP checksum does not verify: sum %#04x", sum)
		}
		if quote := message[8:]; !bytes.HasPrefix(frame[k.L3():k.L3()+int(k.Length)], quote) {
			t.Error("the answer does not quote the packet")
		}
		if _, ok := BuildError(make([]byte, MaxErrorFrameLen), dst[:n], &answer, e); ok {
			t.Error("an error about an error was built")
		}
	})
}
