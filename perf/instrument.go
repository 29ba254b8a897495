package perf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/perf/environment"
	"weir/perf/traffic"
	"weir/perf/trial"
	"weir/rings"
)

// instruments open a sender and a receiver for each mix of sizes when it is asked for. There is one pair at a time: a port has one
// receiver.
type instruments struct {
	engine  Engine
	streams []traffic.Stream
	out, in traffic.Port
	link    traffic.Link

	sizes string // that open is for
	open  *instrument
	mode  string // of the sender's sockets, once it had some: "zero-copy", "copy" or "generic"

	calibrated []trial.Calibration
}

// calibrate measures for frames of these sizes, once.
func (s *instruments) calibrate(sizes trial.Sizes, measure func() (trial.Calibration, error)) (c trial.Calibration, err error) {
	for _, c := range s.calibrated {
		if slices.Equal(c.Sizes, sizes) {
			return c, nil
		}
	}
	if c, err = measure(); err != nil {
		return c, fmt.Errorf("calibrate: %w", err)
	}
	c.Sizes = sizes
	s.calibrated = append(s.calibrated, c)
	return c, nil
}

// instrument is a sender and a receiver for a plan.
type instrument struct {
	sender   traffic.Sender
	receiver *traffic.Receiver
}

// checkEngine refuses one that is not there.
func checkEngine(e Engine) error {
	if e != Live && e != XSK {
		return fmt.Errorf("engine %q: must be %s or %s", e, Live, XSK)
	}
	return nil
}

// smallest are frames that all streams fit in.
func (s *instruments) smallest() trial.Sizes {
	size := trial.SizeMin
	for i := range s.streams {
		size = max(size, s.streams[i].SizeMin())
	}
	return trial.Sizes{size}
}

// on makes a pair for any two ports.
func (s *instruments) on(out, in traffic.Port, link traffic.Link, sizes trial.Sizes) (i *instrument, err error) {
	plan, err := traffic.NewPlan(s.streams, link, sizes)
	if err != nil {
		return nil, err
	}
	i = &instrument{}
	if i.receiver, err = traffic.NewReceiver(in, plan); err != nil {
		return nil, err
	}
	if s.engine == XSK {
		var x *traffic.XSK
		if x, err = traffic.NewXSK(out, plan, traffic.XSKOptions{Mode: rings.Auto}); err == nil {
			i.sender, s.mode = x, x.Mode().String()
		}
	} else {
		i.sender, err = traffic.NewLive(out, plan)
	}
	if err != nil {
		return nil, errors.Join(err, i.receiver.Close())
	}
	return i, nil
}

func (i *instrument) close() error { return errors.Join(i.sender.Close(), i.receiver.Close()) }

// get is the pair for frames of these sizes.
func (s *instruments) get(sizes trial.Sizes) (*instrument, error) {
	key := sizes.String()
	if s.open != nil && s.sizes == key {
		return s.open, nil
	}
	if err := s.dismiss(); err != nil {
		return nil, err
	}
	i, err := s.on(s.out, s.in, s.link, sizes)
	if err == nil {
		s.open, s.sizes = i, key
	}
	return i, err
}

func (s *instruments) dismiss() (err error) {
	if s.open != nil {
		err, s.open = s.open.close(), nil
	}
	return err
}

// Trial is part of trial.Tester.
func (s *instruments) Trial(ctx context.Context, t trial.Trial) (outcome trial.Outcome, err error) {
	i, err := s.get(t.Sizes)
	if err != nil {
		return outcome, err
	}
	return i.trial(ctx, t)
}

// drainMin is how long a trial waits at least for packets that have not come. It ends when all have.
const drainMin = 200 * time.Millisecond

func (i *instrument) trial(ctx context.Context, t trial.Trial) (outcome trial.Outcome, err error) {
	run := traffic.Run{Start: traffic.Ahead(), Phases: []traffic.Phase{{Rate: t.Rate, Duration: t.Duration}}, Limit: t.Frames}
	for _, s := range t.Then {
		run.Phases = append(run.Phases, traffic.Phase{Rate: s.Rate, Duration: s.Duration})
	}
	type intervention struct {
		span trial.Silence
		err  error
	}
	intervened := make(chan intervention, 1)
	sending, end := context.WithCancel(ctx)
	defer end()
	if d := t.During; d != nil {
		timer := time.AfterFunc(d.At-traffic.Since(run.Start), func() { // it has yet to start
			var v intervention
			v.span.From = traffic.Since(run.Start)
			if v.err = d.Do(ctx); v.err != nil {
				v.err = fmt.Errorf("%s: %w", d.Name, v.err)
				end() // there is nothing to measure any more
			}
			v.span.To = traffic.Since(run.Start)
			intervened <- v
		})
		defer timer.Stop()
	} else {
		intervened <- intervention{}
	}
	r, err := i.receiver.Measure(sending, i.sender, run, max(t.Drain, drainMin), t.Drain > drainMin)
	select {
	case v := <-intervened:
		outcome.Intervened = v.span
		if v.err != nil {
			err = v.err
		}
	case <-ctx.Done(): // it may never have begun
	}
	outcome.Sent, outcome.Received, outcome.Duplicated, outcome.Reordered = r.Packets, r.Received, r.Again, r.Reordered
	outcome.Foreign = r.Strangers + r.Old + r.Corrupt
	outcome.Duration, outcome.Latency, outcome.Series = r.Time, r.Latency, r.Series(seriesLength)
	outcome.LastLost, outcome.Silence, outcome.Cut = r.LastLost, r.Silence, ctx.Err() != nil
	if r.Packets > 1 {
		outcome.Duration += r.Time / time.Duration(r.Packets-1) // the pause behind the last
	}
	if err != nil {
		return outcome, err
	}
	select {
	case <-time.After(t.Settle):
	case <-ctx.Done():
	}
	return outcome, ctx.Err()
}

// seriesLength is how many intervals a trial's series has.
const seriesLength = 120

// Calibration: packets a second are tried downwards from as many as can be sent, each for calibrateTime, and latencies at a rate that no
// device minds.
const (
	calibrateTime = 200 * time.Millisecond
	biasRate      = 10_000
)

// errBusy says that others take so much of the machine that a figure would be theirs.
var errBusy = errors.New("the machine is too busy to measure")

// ceiling is the highest rate that is kept up, which carried says of a trial.
func (i *instrument) ceiling(ctx context.Context, sizes trial.Sizes, carried func(trial.Outcome) (uint64, error)) (float64, error) {
	offer := func(rate float64) (o trial.Outcome, sent uint64, err error) {
		if o, err = i.trial(ctx, trial.Trial{Rate: rate, Duration: calibrateTime, Sizes: sizes, Drain: drainMin}); err == nil {
			sent, err = carried(o)
		}
		return o, sent, err
	}
	o, sent, err := offer(0)
	if err != nil {
		return 0, err
	}
	flat := o.Rate() * float64(sent) / float64(max(o.Sent, 1))
	for _, share := range []float64{1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2} {
		rate := share * flat
		for range 2 { // the machine may have been busy just then
			o, sent, err := offer(rate)
			if err != nil {
				return 0, err
			}
			if sent >= o.Sent && float64(o.Sent) >= (1-trial.Shortfall)*rate*calibrateTime.Seconds() {
				return rate, nil
			}
		}
	}
	return 0, fmt.Errorf("a fifth of %.0f packets a second were not kept up: %w", flat, errBusy)
}

// calibrateWire measures where the sender's wire ends at the receiver: what is sent and comes back without loss, and what that takes.
func (i *instrument) calibrateWire(ctx context.Context, sizes trial.Sizes) (c trial.Calibration, err error) {
	c.Ceiling, err = i.ceiling(ctx, sizes, func(o trial.Outcome) (uint64, error) { return o.Received, nil })
	if err != nil {
		return c, err
	}
	o, err := i.trial(ctx, trial.Trial{Rate: biasRate, Duration: calibrateTime, Sizes: sizes, Drain: drainMin})
	c.Bias = o.Latency
	return c, err
}

// Ports are what the test used.
func (s *instruments) Ports() (list []environment.Port, err error) {
	for _, p := range []struct {
		*traffic.Port
		role, mode string
	}{{&s.out, "sends", s.mode}, {&s.in, "receives", ""}} {
		err = errors.Join(err, p.Do(func() error {
			one, err := environment.ReadPort(p.Name, p.role)
			one.Copy = p.mode
			list = append(list, one)
			return err
		}))
	}
	return list, err
}
