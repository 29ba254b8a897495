package traffic

import "time"

// pacer says when packets are sent, as send.c does: when they are due, and when the sender was kept from that, a burst at once and what
// is behind it a little faster than the rate. Times are since the start, in 1/65536 ns.
type pacer struct {
	phases  []pacerPhase
	at      int           // of phases
	due     uint64        // of the next packet
	pace    uint64        // of late ones: when the turn of the next is, without the burst
	skipped time.Duration // that was not caught up with
}

type pacerPhase struct {
	end               uint64 // ns
	interval, catchUp uint64 // between packets, and late ones; 0: none
}

// next says whether the next packet has to wait, and whether there is none.
func (p *pacer) next(now uint64) (wait, over bool) {
	for p.at < len(p.phases) {
		f := &p.phases[p.at]
		if f.interval == 0 {
			if now>>clockShift < f.end {
				return false, false
			}
			p.due = now // the next one begins here, behind one without a plan
			p.at++
			continue
		}
		if max(p.due, less(now, burstMax*f.interval))>>clockShift < f.end {
			return now < max(p.due, less(p.pace, burstMax*f.catchUp)), false
		}
		if p.due>>clockShift < f.end {
			p.skipped += time.Duration(f.end - p.due>>clockShift)
			p.due = f.end << clockShift
		}
		// What is left of the interval is as much of the next phase's: in 1/4096, so that it fits 64 bits.
		if p.at++; p.at < len(p.phases) {
			p.due = f.end<<clockShift + (p.due-f.end<<clockShift)/(f.interval>>12+1)*p.phases[p.at].interval>>12
		}
	}
	return false, true
}

// took notes that the next packet has been sent, and says how late, where it had a time.
func (p *pacer) took(now uint64) (late uint64, paced bool) {
	f := &p.phases[p.at]
	if f.interval == 0 {
		return 0, false
	}
	p.pace = max(p.pace, now) + f.catchUp
	late = now - p.due
	if most := max(burstMax*f.interval, uint64(lateMax)<<clockShift); late > most {
		p.skipped += time.Duration((late - most) >> clockShift)
		p.due += late - most
	}
	p.due += f.interval
	return late, true
}

// less is a − b, and 0 where that is negative.
func less(a, b uint64) uint64 { return a - min(a, b) }
