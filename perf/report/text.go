package report

import (
	"fmt"
	"strconv"
	"time"

	"weir/perf/trial"
)

// none is in cells that have no value.
const none = "–"

// rateText is a rate in the unit that suits it.
func rateText(rate float64) string {
	switch {
	case rate <= 0:
		return none
	case rate >= 1e6:
		return fmt.Sprintf("%.4f Mpps", rate/1e6)
	case rate >= 1e3:
		return fmt.Sprintf("%.3f kpps", rate/1e3)
	}
	return fmt.Sprintf("%.2f pps", rate)
}

// bitsText is a rate of frames in bits per second on the wire, with what Ethernet puts around frames.
func bitsText(rate float64, sizes trial.Sizes) string {
	if rate <= 0 {
		return none
	}
	return speedText(rate / sizes.LineRate(1))
}

func speedText(bits float64) string {
	switch {
	case bits <= 0:
		return "speed not known"
	case bits >= 1e9:
		return fmt.Sprintf("%.4g Gbit/s", bits/1e9)
	}
	return fmt.Sprintf("%.4g Mbit/s", bits/1e6)
}

// lossText is a ratio as a percentage; never 0 for what is not.
func lossText(ratio float64) string {
	switch {
	case ratio <= 0:
		return "0 %"
	case ratio < 0.0001:
		return fmt.Sprintf("%.1e %%", 100*ratio)
	}
	return fmt.Sprintf("%.4g %%", 100*ratio)
}

// timeText is a duration with four digits.
func timeText(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.4g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.4g ms", float64(d)/1e6)
	case d >= time.Microsecond:
		return fmt.Sprintf("%.4g µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

func countText(n uint64) string { return strconv.FormatUint(n, 10) }

func percentText(share float64) string { return fmt.Sprintf("%.4g %%", 100*share) }

// quantileName is p50 and so on; min and max at the ends.
func quantileName(share float64) string {
	switch share {
	case 0:
		return "min"
	case 1:
		return "max"
	}
	return "p" + strconv.FormatFloat(100*share, 'g', 6, 64)
}
