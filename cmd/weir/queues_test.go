package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/mgmt"
	"weir/perf/lab"
)

// TestQueues: with two queues a port's flows spread over them, each stays in order, and every queue's worker has its
// share; with one worker for both queues too.
func TestQueues(t *testing.T) {
	for _, c := range []struct {
		name    string
		workers string
		worker  [2]int // of each queue
	}{{"two workers", "[0, 1]", [2]int{0, 1}}, {"one worker", "[1]", [2]int{0, 0}}} {
		t.Run(c.name, func(t *testing.T) {
			two := lab.LinkOptions{Queues: 2}
			n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two})
			w := n.start(n.config("system: {workers: " + c.workers + "}\n"))
			from, to := n.ends[0], n.ends[1]
			n.warm([2]*end{from, to})
			const flows, packets = 16, 40_000
			var receivers []*lab.UDPReceiver
			var streams []<-chan streamed
			for i, direction := range [][2]*end{{from, to}, {to, from}} {
				for _, a := range []netip.Addr{direction[1].addr4(), direction[1].addr6()} {
					r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(a, uint16(7000+i))))
					receivers = append(receivers, r)
					streams = append(streams, stream(testContext(t), direction[0].Host, lab.UDPOptions{
						To: r.Address(), Flows: flows, Count: packets / 4, Rate: perSecond(20_000) / 4,
					}))
				}
			}
			var list []delivery
			for i, r := range receivers {
				list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
			}
			late := delivered(t, w, list...)
			transfer(t, w, from.Host, to, to.addr4(), 1<<20)
			s := w.rest()
			if len(s.Workers) != c.worker[1]+1 {
				t.Errorf("%d workers", len(s.Workers))
			}
			for _, p := range s.Ports {
				if len(p.Queues) != 2 {
					t.Fatalf("%d queues of %s", len(p.Queues), p.Name)
				}
				for i, q := range p.Queues {
					if q.Worker != c.worker[i] || q.Received+late < packets/20 {
						t.Errorf("queue %d of %s: %+v", i, p.Name, q)
					}
				}
				if both := p.Queues[0].Transmitted > 0 && p.Queues[1].Transmitted > 0; both != (c.worker[1] == 1) {
					t.Errorf("%s transmitted %d and %d packets by %s", p.Name, p.Queues[0].Transmitted, p.Queues[1].Transmitted, c.name)
				}
			}
			if s.Totals.Dropped > 0 {
				t.Errorf("drops: %v", s.Totals.Drops)
			}
		})
	}
}

// TestUnequalQueues: a port with fewer queues than another bounds the workers, and loses nothing.
func TestUnequalQueues(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", lab: lab.LinkOptions{Queues: 3}}, endOptions{name: "em1"})
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	for i, direction := range [][2]*end{{from, to}, {to, from}} {
		r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(direction[1].addr6(), uint16(7000+i))))
		sent, err := direction[0].SendUDP(testContext(t), lab.UDPOptions{To: r.Address(), Flows: 9, Count: 5000, Rate: perSecond(20_000)})
		delivered(t, w, delivery{streamed{sent, err}, []*lab.UDPReceiver{r}})
	}
	if s := w.rest(); len(s.Workers) != 1 || s.Totals.Dropped > 0 {
		t.Errorf("%d workers, counted %+v", len(s.Workers), s.Totals)
	}
}

// TestQueuesUnderReloads: while commits come one after the other, two workers keep the order of every flow, and what they
// count of a rule adds up.
func TestQueuesUnderReloads(t *testing.T) {
	two := lab.LinkOptions{Queues: 2}
	n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two})
	config := func(i int) string {
		return n.config(fmt.Sprintf("system: {workers: [0, 1]}\ntables: {x: {id: 100, routes: [{to: 192.0.2.%d/32, port: em0}]}, other: {id: 101}}\n"+
			"rules: [{name: all, priority: %d, lookup: x}]\n", i, 1+i))
	}
	w := n.start(config(0))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	before := w.hits()["rule all"].Packets
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var receivers []*lab.UDPReceiver
	var streams []<-chan streamed
	for i, direction := range [][2]*end{{from, to}, {to, from}} {
		for _, a := range []netip.Addr{direction[1].addr4(), direction[1].addr6()} {
			r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(a, uint16(7000+i))))
			receivers = append(receivers, r)
			streams = append(streams, stream(ctx, direction[0].Host, lab.UDPOptions{To: r.Address(), Flows: 16, Rate: perSecond(20_000) / 4}))
		}
	}
	for i := range 40 {
		was := receivers[i%4].Report().Received
		eventually(t, "traffic passes", func() (bool, any) { got := receivers[i%4].Report().Received; return got > was, got })
		w.write(config(i + 1))
		w.reload()
	}
	stop()
	var list []delivery
	sent := uint64(0)
	for i, r := range receivers {
		list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
		sent += list[i].sent.Packets
	}
	late := delivered(t, w, list...)
	if got := w.hits()["rule all"].Packets - before; got > sent || got+late < sent {
		t.Errorf("the rule counted %d packets of %d, of which %d were late", got, sent, late)
	}
	s := w.rest()
	for _, p := range s.Ports {
		for _, q := range p.Queues {
			if q.Received == 0 {
				t.Errorf("queue %d of %s had no part", q.Queue, p.Name)
			}
		}
	}
	if s.Totals.Dropped > 0 {
		t.Errorf("drops: %v", s.Totals.Drops)
	}
}

// hold stops one worker of the router, as a debugger does, until release is called.
func (w *weir) hold(cpu int) (release func()) {
	w.t.Helper()
	tid := 0
	tasks := must[[]string](w.t)(filepath.Glob(fmt.Sprintf("/proc/%d/task/*", w.process.PID())))
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Join(task, "status"))
		stat, err2 := os.ReadFile(filepath.Join(task, "stat"))
		if err != nil || err2 != nil {
			continue // a thread that has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		pinned := strings.Contains(string(status), fmt.Sprintf("Cpus_allowed_list:\t%d\n", cpu))
		if fields := strings.Fields(rest); pinned && len(fields) > 16 && fields[16] == "-20" {
			tid = must[int](w.t)(strconv.Atoi(filepath.Base(task)))
		}
	}
	if tid == 0 {
		w.t.Fatalf("no worker on CPU %d among %d threads", cpu, len(tasks))
	}
	held, resume, gone := make(chan error), make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // a tracer is a thread; not unlocked: it ends here
		err := unix.PtraceAttach(tid)
		if err == nil {
			_, err = unix.Wait4(tid, nil, unix.WALL, nil)
		}
		held <- err
		<-resume
		gone <- unix.PtraceDetach(tid)
	}()
	need(w.t, <-held)
	return func() {
		w.t.Helper()
		close(resume)
		need(w.t, <-gone)
	}
}

// TestStuckWorker: of two workers one does not move. A commit takes effect all the same, says who has not seen it, does not
// wait for ever, and releases nothing that the worker may still use. The other one forwards. When the worker moves
// again, the next commit makes good for it.
func TestStuckWorker(t *testing.T) {
	two := lab.LinkOptions{Queues: 2}
	n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two}, endOptions{name: "em2", lab: two})
	all := n.config("system: {workers: [0, 1]}\n")
	w := n.start(all)
	from, to, third := n.ends[0], n.ends[1], n.ends[2]
	n.warm([2]*end{from, to}, [2]*end{from, third})
	w.unbalanced = true // what arrives at a port while it is closed is not accounted for
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Flows: 16, Rate: perSecond(5_000)})
	need(t, receiver.WaitCount(testContext(t), 100))
	release := w.hold(1)
	w.write(n.config("system: {workers: [0, 1]}\n", "em0", "em1"))
	out, status := w.call("reload")
	if status != mgmt.StatusOK || !strings.Contains(out, "generation 2") || !strings.Contains(out, "degraded") || !strings.Contains(out, "worker 1 has not seen") {
		t.Errorf("with a stuck worker: status %d: %s", status, out)
	}
	if n.xdp("em2") == 0 {
		t.Error("a port was closed that the worker may still use")
	}
	out, _ = w.call("show", "ports")
	if !strings.Contains(out, "DEGRADED: publish: generation 2 runs") {
		t.Errorf("show ports:\n%s", out)
	}
	was := receiver.Report().Received
	need(t, receiver.WaitCount(testContext(t), was+100)) // by the other worker
	release()
	eventually(t, "the worker follows", func() (bool, any) {
		workers := w.look().Workers
		return workers[0].Epoch == workers[1].Epoch, workers
	})
	if w.reload() != 3 || n.xdp("em2") != 0 {
		t.Error("the port that was taken out is open still")
	}
	w.write(all)
	w.reload()
	n.warm([2]*end{from, third})
	stop()
	if got := <-s; got.err != nil {
		t.Error(got.err)
	}
}
