package perf

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Window is a peer under one constant rate.
type Window struct {
	Asked    float64       // packets per second, as asked of the generator
	Offered  float64       // as sent
	Received float64       // as counted behind the router
	Sent     uint64        // packets
	Counted  uint64        // packets
	Duration time.Duration // from the first packet sent to the last

	// Time of the router's CPU per counted packet, ns: the worker's thread (none where the kernel forwards), the
	// ports' receive threads, and the softirq thread. The counter's share is in whichever transmits.
	Worker, NAPI, Softirq float64

	Other   float64 // time of the process's further threads, on any CPU, ns per counted packet
	Busy    float64 // share of Duration that these threads ran on the router's CPU
	Foreign float64 // share of Duration that something else did; the tick of the clock makes it ± 0.02
	Stolen  float64 // share of Duration that the hypervisor took
	Tries   int     // how often it was measured, for other work on the router's core, until it counted
}

// Cost is the time of the router's CPU per packet, ns.
func (w *Window) Cost() float64 { return w.Worker + w.NAPI + w.Softirq }

// Lost is the share of packets that did not arrive.
func (w *Window) Lost() float64 {
	if w.Sent == 0 {
		return 0
	}
	return 1 - float64(w.Counted)/float64(w.Sent)
}

// Limit says what kept the window from a higher rate, as far as it can tell.
func (w *Window) Limit() string {
	switch {
	case w.Lost() < 0.01 && w.Offered < 0.97*w.Asked:
		return "the generator"
	case w.Lost() < 0.01:
		return "nothing: more was not offered"
	case w.disturbance() > disturbed:
		return "the machine: other work on the router's core"
	case w.Busy > 0.85:
		return "the router's core"
	}
	return "bursts, or pauses of the machine: the core has time left"
}

// A window in which the router's core did other work for more than disturbed of the time is measured again, and of
// triesMax the quietest counts.
const (
	disturbed = 0.10
	triesMax  = 3
)

// Where others have the router's core all the time, nothing comes through. That says nothing about the peer, unless it is so
// nothingMax times in a row.
const nothingMax = 20

// quietWindow is window, again if need be.
func (r *running) quietWindow(ctx context.Context, rate float64, d time.Duration) (best Window, err error) {
	for try := 1; try <= triesMax; try++ {
		w, err := r.window(ctx, rate, d)
		for again := 0; errors.Is(err, errNothing) && again < nothingMax; again++ {
			w, err = r.window(ctx, rate, d)
		}
		if err != nil {
			return w, err
		}
		if best.Counted == 0 || w.disturbance() < best.disturbance() {
			best = w
		}
		best.Tries = try
		if best.disturbance() <= disturbed {
			break
		}
	}
	return best, nil
}

var errNothing = errors.New("nothing came through")

// disturbance is the share of the time that the router's core was not the router's, nor idle.
func (w *Window) disturbance() float64 { return w.Foreign + w.Stolen }

// window offers a rate to a peer for a time and measures.
func (r *running) window(ctx context.Context, rate float64, d time.Duration) (w Window, err error) {
	counted, err := r.bed.counter.read()
	if err != nil {
		return w, err
	}
	before, err := r.usage()
	if err != nil {
		return w, err
	}
	began := time.Now()
	sent, err := r.bed.generator.run(ctx, rate, d)
	if err != nil {
		return w, err
	}
	during := time.Since(began)
	end, err := readProcessor(r.bed.cpu)
	if err != nil {
		return w, err
	}
	now, err := r.bed.counter.settle(ctx, counted, sent.packets)
	if err != nil {
		return w, err
	}
	after, err := r.usage()
	if err != nil {
		return w, err
	}
	w = Window{
		Asked: rate, Offered: sent.rate(), Sent: sent.packets, Counted: now.Frames - counted.Frames, Duration: sent.time,
	}
	if w.Counted == 0 || w.Duration == 0 {
		return w, fmt.Errorf("offer %.0f packets per second: %w: %d sent, %d counted", rate, errNothing, w.Sent, w.Counted)
	}
	w.Received = float64(w.Counted) / w.Duration.Seconds()
	perPacket := func(t time.Duration) float64 { return float64(t) / float64(w.Counted) }
	w.Worker = perPacket(after.worker - before.worker)
	w.NAPI = perPacket(after.napi - before.napi)
	w.Softirq = perPacket(after.softirq - before.softirq)
	w.Other = perPacket(after.other - before.other)
	share := func(t time.Duration) float64 { return float64(t) / float64(during) }
	ran := after.worker - before.worker + after.napi - before.napi + after.softirq - before.softirq
	w.Busy = share(ran)
	w.Foreign = max(0, share(end.busy-before.cpu.busy-ran))
	w.Stolen = share(end.stolen - before.cpu.stolen)
	return w, nil
}
