package perf

import "time"

// idler decides when the floor spins and when it sleeps. It is a copy of weir's (package appliance, idle.go), which
// says why it is so: the floor must wait as weir does, and packages on both sides of a comparison must not share code
// that the comparison is about.
type idler struct {
	spin    time.Duration // how long to spin; 0 never does
	started int64         // when the present spin began, ns; 0: not spinning
	sober   int           // sleeps left until spinning is tried again
	worth   bool          // the last sleep was shorter than a spin
}

const sobriety = 256

func (i *idler) shouldSleep(now int64) bool {
	if i.spin == 0 || !i.worth {
		return true
	}
	if i.started == 0 {
		i.started = now
		return false
	}
	if now-i.started < int64(i.spin) {
		return false
	}
	i.started, i.worth, i.sober = 0, false, sobriety
	return true
}

func (i *idler) slept(d time.Duration) {
	if i.sober > 0 {
		i.sober--
		return
	}
	i.worth = d < i.spin
}

func (i *idler) busy() { i.started = 0 }

// monotonic is the time since the program began, ns.
func monotonic() int64 { return int64(time.Since(begun)) }

var begun = time.Now()
