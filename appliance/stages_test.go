package appliance

import (
	"net/netip"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy"
)

// stagesSnapshot is a router between em0 and em1, with a gateway behind that.
func stagesSnapshot(t *testing.T) *policy.Snapshot {
	t.Helper()
	p := &policy.Policy{Neighbors: []policy.StaticNeighbor{{Neighbor: fib.Neighbor{Addr: addr("10.0.1.2"), Port: 1}, MAC: [6]byte{2, 0, 0, 0, 1, 2}}}}
	for i, name := range []string{"em0", "em1"} {
		p.Ports = append(p.Ports, policy.Port{Name: name, Device: uint16(i), MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(addr("10.0.%d.1", i), 24)}})
	}
	local, main := policy.ConnectedRoutes(p.Ports)
	main = append(main, fib.Route{Prefix: prefix("172.16.0.0/16"), Hops: []fib.NextHop{{Gateway: addr("10.0.1.2"), Port: 1, Weight: 1}}},
		fib.Route{Prefix: prefix("172.20.0.0/16"), Action: fib.Blackhole})
	p.Tables = []policy.Table{{Name: "local", ID: policy.TableLocal, Routes: local}, {Name: "main", ID: policy.TableMain, Routes: main}, {Name: "default", ID: policy.TableDefault}}
	p.Rules = policy.DefaultRules(0, 1, 2)
	s, err := policy.Compile(p)
	need(t, err)
	if errs := s.Promote(); errs != nil {
		t.Fatal(errs)
	}
	return s
}

// TestStages runs the worker's loop as far as each stage: only the last sends, every packet, rewritten for its next hop.
func TestStages(t *testing.T) {
	hosts := rig{t: t, macs: [][6]byte{{2, 0, 0, 0, 0, 2}}, ports: [][6]byte{{2, 0, 0, 0, 0, 1}}}
	m, err := NewStages(stagesSnapshot(t))
	need(t, err)
	defer func() { need(t, m.Close()) }()
	frame := hosts.frame(0, packetOf{src: "10.0.0.2", dst: "172.16.0.1"})
	frames := make([][]byte, 150) // not a multiple of a batch
	for i := range frames {
		frames[i] = frame
	}
	need(t, m.Check(frames))
	if names := m.Names(); len(names) != stagesEnd {
		t.Fatalf("%d names for %d stages", len(names), stagesEnd)
	}
	for last := range stagesEnd {
		want := 0
		if last == stageSend {
			want = len(frames)
		}
		if sent := m.Run(last, frames); sent != want {
			t.Errorf("%s: %d of %d packets sent", m.Names()[last], sent, want)
		}
		out := m.umem.Bytes(m.w.batch.Frames[0])
		if rewritten := out[22] == frame[22]-1; rewritten != (last >= stageRewrite) {
			t.Errorf("%s: TTL %d of %d", m.Names()[last], out[22], frame[22])
		}
		if encapsulated := [6]byte(out) == [6]byte{2, 0, 0, 0, 1, 2}; encapsulated != (last == stageSend) {
			t.Errorf("%s: to %x", m.Names()[last], out[:6])
		}
		if n := testing.AllocsPerRun(2, func() { m.Run(last, frames) }); n != 0 {
			t.Errorf("%s: %v allocations", m.Names()[last], n)
		}
	}
}

// TestStagesCheck wants to know of packets that are not forwarded.
func TestStagesCheck(t *testing.T) {
	hosts := rig{t: t, macs: [][6]byte{{2, 0, 0, 0, 0, 2}}, ports: [][6]byte{{2, 0, 0, 0, 0, 1}}}
	for dst, part := range map[string]string{"172.20.0.1": "blackhole", "10.0.1.9": "not forwarded", "192.0.2.1": "not forwarded"} {
		m, err := NewStages(stagesSnapshot(t))
		need(t, err)
		frame := hosts.frame(0, packetOf{src: "10.0.0.2", dst: dst})
		if err := m.Check([][]byte{frame}); err == nil || !strings.Contains(strings.ToLower(err.Error()), part) {
			t.Errorf("%s: %v", dst, err)
		}
		need(t, m.Close())
	}
}
