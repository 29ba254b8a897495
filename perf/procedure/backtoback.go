package procedure

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"weir/perf/trial"
)

// BackToBackOptions are those of BackToBack.
type BackToBackOptions struct {
	Common
	Search      ThroughputOptions // for the throughput; its Common is not looked at
	Throughputs []float64         // for each of the sizes; nil: searched for first
	Tests       int               // 0: 50
	Longest     time.Duration     // burst; 0: 30 s
	Step        uint64            // frames to which a test is exact; 0: 16
}

// verifications is how often a burst with loss is tried, in hope of one without (ETSI GS NFV-TST 009 section 12.3.3, max(r)).
const verifications = 2

// BackToBack searches for the longest burst at the highest rate that is forwarded without loss (RFC 9004).
func BackToBack(ctx context.Context, tester trial.Tester, o BackToBackOptions) (*Result, error) {
	setDefault(&o.Tests, 50)
	setDefault(&o.Longest, 30*time.Second)
	setDefault(&o.Step, 16)
	result := &Result{Procedure: "rfc2544 back-to-back", Standard: "RFC 9004, which replaces RFC 2544 section 26.4; search of ETSI GS NFV-TST 009 section 12.3.3"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if o.Tests < 1 || o.Longest <= 0 {
			return fmt.Errorf("%d tests of bursts of up to %v: must be at least 1, and more than 0", o.Tests, o.Longest)
		}
		r.allSizes()
		r.deviateIf(o.Tests < 50, "makes %d tests, where RFC 2544 section 26.4 has 50", o.Tests)
		r.parameter("bursts", "up to %v, exact to %d frames, those with loss tried %d times; %d tests", o.Longest, o.Step, verifications, o.Tests)
		for _, sizes := range r.common.Sizes {
			if err := r.backToBack(sizes, &o); err != nil {
				return err
			}
		}
		return nil
	})
}

// burstShare of the generator's ceiling is what bursts have where the link's rate is not known. The first frames wake the device, which takes
// 40 µs of the generator's time on veth in a virtual machine, and have to be caught up with in a burst of 256.
const burstShare = 0.4

func (r *runner) backToBack(sizes trial.Sizes, o *BackToBackOptions) error {
	c, err := r.calibration(sizes)
	if err != nil {
		return err
	}
	rate, isCeiling := highest(c)
	if isCeiling {
		rate *= burstShare
	}
	r.deviateIf(isCeiling, "%s bytes: bursts are at %.0f frames a second, %g of the generator's ceiling, where RFC 9004 has the smallest gap of the link", sizes, rate, burstShare)
	throughput, refused, err := r.base(sizes, o.Throughputs, &o.Search)
	if err != nil {
		return err
	}
	b := BurstLength{Sizes: sizes, Rate: rate, Throughput: throughput, Step: o.Step}
	if refused == "" && throughput >= math.Floor(rate) {
		refused = "bursts of any length are forwarded, since the rate of a burst is (RFC 9004 section 6.1 leaves such sizes out)"
	}
	longest := uint64(rate * o.Longest.Seconds())
	for n := 0; n < o.Tests && refused == "" && err == nil; n++ {
		var length uint64
		length, refused, err = r.burst(sizes, rate, longest, o.Step, fmt.Sprintf("burst, %d of %d", n+1, o.Tests))
		if err == nil && refused == "" {
			b.Lengths = append(b.Lengths, length)
		}
	}
	if refused != "" {
		b.Refused = r.refuse(sizes, refused)
	}
	b.summarize()
	r.result.Bursts = append(r.result.Bursts, b)
	return err
}

// burst searches for the longest burst without loss, in doubling steps and then by halves. It knows nothing of the tests
// before, which are to be independent.
func (r *runner) burst(sizes trial.Sizes, rate float64, longest, step uint64, name string) (length uint64, refused string, err error) {
	const first = 1024
	lower, upper := uint64(0), longest+1 // a burst of nothing loses nothing
	for n := min(first, longest); upper-lower > step; {
		clean, slow, err := r.clean(sizes, rate, n, name)
		if err != nil {
			return 0, "", err
		}
		if slow != "" {
			return 0, slow, nil
		}
		if clean {
			lower = n
		} else {
			upper = n
		}
		switch {
		case lower == longest:
			return 0, fmt.Sprintf("no loss in a burst of %d frames, the longest", longest), nil
		case upper > longest:
			n = min(2*n, longest)
		default:
			n = lower + (upper-lower)/2
		}
	}
	return lower, "", nil
}

// clean says whether a burst is forwarded without loss, when it is tried as often as it may be; or that it was not sent fast
// enough to say so, however often.
func (r *runner) clean(sizes trial.Sizes, rate float64, frames uint64, name string) (clean bool, slow string, err error) {
	const again = 8
	for lossy, short := 0, 0; lossy < verifications; {
		r.left = r.whole(0)
		record, err := r.trial(name, trial.Burst(frames, rate, sizes), counts)
		if err != nil {
			return false, "", err
		}
		if record.Lost() > 0 {
			lossy++
			continue
		}
		if record.Rate() >= (1-trial.Shortfall)*rate {
			return true, "", nil
		}
		slow = fmt.Sprintf("the generator sent a burst of %d frames at %.0f of %.0f frames a second", frames, record.Rate(), rate)
		if short++; short > again {
			return false, slow, nil
		}
		record.Void = slow
	}
	return false, "", nil
}

func (b *BurstLength) summarize() {
	if len(b.Lengths) == 0 {
		return
	}
	n := float64(len(b.Lengths))
	b.Min, b.Max = slices.Min(b.Lengths), slices.Max(b.Lengths)
	sum, squares := 0.0, 0.0
	for _, length := range b.Lengths {
		sum += float64(length)
	}
	b.Mean = sum / n
	for _, length := range b.Lengths {
		squares += (float64(length) - b.Mean) * (float64(length) - b.Mean)
	}
	if len(b.Lengths) > 1 {
		b.Deviation = math.Sqrt(squares / (n - 1))
	}
	implied := b.Mean / b.Rate
	b.Implied = time.Duration(implied * float64(time.Second))
	b.Corrected = time.Duration(implied * (1 - b.Throughput/b.Rate) * float64(time.Second))
}
