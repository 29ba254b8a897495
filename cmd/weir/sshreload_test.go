package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/perf/lab"
)

// How much the tests here do: `make show-ssh` has them do more.
var (
	reloads    = flag.Int("reloads", 40, "how often TestReloadsBySSH reloads")
	manyRoutes = flag.Int("many-routes", 50_000, "routes of TestRoutesBySSH, at most 1,000,000")
)

// TestReloadsBySSH: `ssh router reload < weir.yaml`, over and over, each by a connection of its own and with the other of two
// policies, while 20,000 packets a second come in by the port that is managed by. None is lost, all go by the old policy or the
// new one, none by the old one for long, and the router uses no more than in the beginning.
func TestReloadsBySSH(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	alice := newAdmin(from, "alice")
	system := sshSystem(fmt.Sprintf("  metrics: {listen: %q}\n", metricsAt), alice)
	policies := [2]string{uplinkPolicy(n, 0) + system, uplinkPolicy(n, 1) + system}
	w := n.start(policies[0])
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	for i := range 4 { // what grows once has grown
		alice.commits(policies[(i+1)%2], "reload")
	}
	before := w.usage(nil)

	uplinks := [2]*lab.UDPReceiver{listen(t, wan0, alternating[0]), listen(t, wan1, alternating[0])}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: uplinks[0].Address(), Flows: 4, Rate: perSecond(20_000), Size: 64})
	need(t, uplinks[0].WaitCount(testContext(t), 1000))
	var commits, whole []float64 // milliseconds
	lost := uint64(0)
	for i := range *reloads {
		began := time.Now()
		r := alice.commits(policies[(i+1)%2], "reload")
		whole = append(whole, float64(time.Since(began))/float64(time.Millisecond))
		commits = append(commits, r.LoadMillis+r.PrepareMillis+r.PersistMillis+r.PublishMillis)
		if want := []string{"routes of other: 2 changed (0.0.0.0/0, ::/0)"}; !slices.Equal(r.Changed, want) || r.Generation != uint64(i+6) {
			t.Fatalf("report %+v", r)
		}
		lost += r.PacketsLost
		var seen [2]uint64
		eventually(t, "all packets go the new way", func() (bool, any) {
			now := [2]uint64{uplinks[i%2].Report().Received, uplinks[(i+1)%2].Report().Received}
			if now[0] != seen[0] { // one more that was on the old way
				seen = now
			}
			return now[1] >= seen[1]+100, now
		})
	}
	stop()
	sent := <-s
	late := delivered(t, w, delivery{sent, uplinks[:]})
	if lost > late {
		t.Errorf("reports count %d packets lost, of which the kernel dropped %d", lost, late)
	}
	after := w.usage(&before)
	if state := w.look(); state.Totals.Dropped > 0 || len(state.Trouble) > 0 {
		t.Errorf("counted %+v, trouble %v", state.Totals, state.Trouble)
	}
	if growth := after.resident - before.resident; growth > 32<<20 && !raceEnabled {
		t.Errorf("memory grew by %d KiB", growth>>10)
	}
	t.Logf("%d reloads while %d packets came at %.0f a second: commit %s; with ssh %s; the kernel dropped %d packets, of which reports count %d; before %v, after %v",
		*reloads, sent.sent.Packets, sent.sent.Rate(), spread(commits), spread(whole), late, lost, before, after)
}

// spread is the median of times in milliseconds, and what is above all but one in a hundred.
func spread(times []float64) string {
	slices.Sort(times)
	return fmt.Sprintf("median %.1f ms, p99 %.1f ms, at most %.1f ms", times[len(times)/2], times[len(times)*99/100], times[len(times)-1])
}

// TestRoutesBySSH: a large table comes as an archive by SSH, and then another one in its place, which sends every packet of a
// stream elsewhere. None is lost.
func TestRoutesBySSH(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	alice := newAdmin(from, "alice")
	plain := n.config(sshSystem("", alice))
	text := plain + "tables: {x: {id: 100, routes-file: x.routes}}\nrules: [{name: x, priority: 100, lookup: x}]\n"
	count := *manyRoutes
	if raceEnabled {
		count /= 10
	}
	network := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}) }
	routes := func(gateway netip.Addr) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, "%s/24 via %s\n", network(i), gateway)
		}
		return b.String()
	}
	service := network(count - 1).Next()
	need(t, wan0.AddAddress("lo", service.String()+"/32"), wan1.AddAddress("lo", service.String()+"/32"))
	w := n.start(plain)
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})

	commit := func(what string, gateway netip.Addr) {
		t.Helper()
		input := archived(t, text, "./x.routes", routes(gateway))
		size := input.Len()
		w.forgetPeak()
		began := time.Now()
		r := alice.commits(input.String(), "commit")
		took := time.Since(began)
		peak := w.memory("VmHWM")
		t.Logf("%s: %d routes, %.1f MB: %.2f s by SSH; load %.0f ms, prepare %.0f ms, persist %.0f ms, publish %.0f ms; %d packets lost; peak of memory %d MiB, then %d MiB",
			what, count, float64(size)/1e6, took.Seconds(), r.LoadMillis, r.PrepareMillis, r.PersistMillis, r.PublishMillis, r.PacketsLost, peak>>20, w.memory("VmRSS")>>20)
		if most := 256<<20 + 2<<10*count; peak > most && !raceEnabled {
			t.Errorf("%s: peak of memory %d MiB, more than %d", what, peak>>20, most>>20)
		}
	}
	commit("the first", wan0.addr4())
	if table := w.table("x"); table.Routes != count {
		t.Errorf("table: %+v", table)
	}
	receivers := []*lab.UDPReceiver{listen(t, wan0, service), listen(t, wan1, service)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receivers[0].Address(), Flows: 4, Rate: perSecond(5_000), Size: 64})
	need(t, receivers[0].WaitCount(testContext(t), 1000))
	commit("another", wan1.addr4())
	need(t, receivers[1].WaitCount(testContext(t), 1000))
	stop()
	delivered(t, w, delivery{<-s, receivers})
	if state := w.look(); state.Totals.Dropped > 0 || len(state.Trouble) > 0 {
		t.Errorf("counted %+v, trouble %v", state.Totals, state.Trouble)
	}
}

// forgetPeak has the kernel begin anew with the router's peak of memory (VmHWM).
func (w *weir) forgetPeak() {
	w.t.Helper()
	need(w.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.process.PID()), []byte("5"), 0))
}

// memory is a line of the router's memory in proc_pid_status(5), in bytes.
func (w *weir) memory(name string) int {
	w.t.Helper()
	text := string(must[[]byte](w.t)(os.ReadFile(fmt.Sprintf("/proc/%d/status", w.process.PID()))))
	_, rest, _ := strings.Cut(text, name+":")
	var kilobytes int
	_, err := fmt.Sscan(rest, &kilobytes)
	need(w.t, err)
	return kilobytes << 10
}
