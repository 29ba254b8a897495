package perf

import (
	"slices"
	"time"

	"weir/perf/environment"
)

// PeersResult is what Peers has measured.
type PeersResult struct {
	Headline    string
	Started     time.Time
	Elapsed     time.Duration
	Machine     environment.Machine
	CommandLine string
	Rounds      int
	Window      time.Duration
	Sizes       string
	Flows       string
	Load        string
	Common      float64 // the rate at which costs are compared, packets per second
	LossRatio   float64 // up to which a window counts as one of low loss
	Yields      bool    // the receive threads run below the worker, instead of beside it
	LoadBefore  float64 // of the machine, runnable threads in the last minute
	LoadAfter   float64
	Peers       []PeerResult
	Ratios      []Ratio
	Limits      []string // what limits each peer, and what disturbed the run
}

// PeerResult is one peer in all rounds.
type PeerResult struct {
	Peer  Peer
	Turns []Turn

	Best        Spread // received, packets per second, in the best window of a round
	LowLoss     Spread // received in the best window of low loss
	CostCommon  Spread // ns per packet at the common rate
	CostBest    Spread // in the best window
	CostLowLoss Spread // in the best window of low loss
}

// Ratio compares weir with another peer, round by round. Each is so that more is better for weir.
type Ratio struct {
	To         Peer
	Best       Spread // weir's packets per second through the other's, best windows
	LowLoss    Spread // the same in the best windows of low loss; rounds in which one had none are left out
	CostCommon Spread // the other's ns per packet through weir's, at the common rate
	CostBest   Spread // the same in the best windows
}

// Spread is the median and the range of a figure over rounds.
type Spread struct {
	Median, Min, Max float64
	N                int // rounds that have the figure
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], N: n}
}

// Best is the window in which most came through.
func (t *Turn) Best() Window {
	return slices.MaxFunc(t.Windows, func(a, b Window) int { return compare(a.Received, b.Received) })
}

// LowLoss is the window in which most came through, of those that lost no more than a share.
func (t *Turn) LowLoss(ratio float64) (best Window, ok bool) {
	for _, w := range t.Windows {
		if w.Lost() <= ratio && w.Received > best.Received {
			best, ok = w, true
		}
	}
	return best, ok
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func newPeersResult(o *PeersOptions) *PeersResult {
	r := &PeersResult{
		Started: time.Now(), Machine: environment.ThisMachine(), CommandLine: o.CommandLine, Rounds: o.Rounds, Window: o.Window,
		Sizes: o.Sizes.String(), Flows: flowsText(o), Load: o.Load.String(), LossRatio: o.LossRatio, Yields: o.ReceiveYields, LoadBefore: environment.LoadAverage(),
	}
	r.Machine.Driver = "veth, XDP in the driver, AF_XDP in copy mode"
	if o.Version != "" {
		r.Machine.Commit = o.Version
	}
	for _, p := range o.Peers {
		r.Peers = append(r.Peers, PeerResult{Peer: p})
	}
	return r
}

func (r *PeersResult) add(p Peer, t Turn) {
	of := r.peer(p)
	of.Turns = append(of.Turns, t)
}

func (r *PeersResult) peer(p Peer) *PeerResult {
	for i := range r.Peers {
		if r.Peers[i].Peer == p {
			return &r.Peers[i]
		}
	}
	return nil
}

// finish computes everything that follows from the windows.
func (r *PeersResult) finish() {
	r.Elapsed = time.Since(r.Started).Round(time.Second)
	r.LoadAfter = environment.LoadAverage()
	r.summarize()
}

func (r *PeersResult) summarize() {
	for i := range r.Peers {
		r.Peers[i].summarize(r.LossRatio)
	}
	r.Ratios = nil
	for _, other := range []Peer{Plain, Floor, Testpmd, XDP, Kernel, Marked} {
		if weir, to := r.peer(Weir), r.peer(other); weir != nil && to != nil {
			r.Ratios = append(r.Ratios, ratioOf(weir, to, r.LossRatio))
		}
	}
	r.Limits = r.limits()
	r.Headline = r.headline()
}

func (p *PeerResult) summarize(lossRatio float64) {
	var best, lowLoss, costCommon, costBest, costLowLoss []float64
	for i := range p.Turns {
		t := &p.Turns[i]
		b := t.Best()
		best = append(best, b.Received)
		costBest = append(costBest, b.Cost())
		costCommon = append(costCommon, t.Windows[0].Cost())
		if f, ok := t.LowLoss(lossRatio); ok {
			lowLoss = append(lowLoss, f.Received)
			costLowLoss = append(costLowLoss, f.Cost())
		}
	}
	p.Best, p.LowLoss = spreadOf(best), spreadOf(lowLoss)
	p.CostCommon, p.CostBest, p.CostLowLoss = spreadOf(costCommon), spreadOf(costBest), spreadOf(costLowLoss)
}

func ratioOf(weir, other *PeerResult, lossRatio float64) Ratio {
	var best, lowLoss, costCommon, costBest []float64
	for i := range min(len(weir.Turns), len(other.Turns)) {
		a, b := &weir.Turns[i], &other.Turns[i]
		bestA, bestB := a.Best(), b.Best()
		best = append(best, bestA.Received/bestB.Received)
		costBest = append(costBest, bestB.Cost()/bestA.Cost())
		costCommon = append(costCommon, b.Windows[0].Cost()/a.Windows[0].Cost())
		freeA, okA := a.LowLoss(lossRatio)
		freeB, okB := b.LowLoss(lossRatio)
		if okA && okB {
			lowLoss = append(lowLoss, freeA.Received/freeB.Received)
		}
	}
	return Ratio{
		To: other.Peer, Best: spreadOf(best), LowLoss: spreadOf(lowLoss),
		CostCommon: spreadOf(costCommon), CostBest: spreadOf(costBest),
	}
}
