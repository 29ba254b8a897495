package rings

import "time"

// Idler decides what a worker without packets does: spin, because the next packet is near, or sleep in ppoll.
//
// Sleeping costs latency: waking takes a few microseconds. Spinning costs the core, and worse, where the NIC's softirq
// runs on the worker's own core it keeps the very packets away that it waits for (30 % fewer packets a
// second on veth). So spinning has to pay: the worker spins only after a sleep that was so short that
// spinning would have caught the packet, and once a spin ends without one, it sleeps sobriety times before it tries again.
type Idler struct {
	Spin    time.Duration // how long to spin; 0 never does
	started int64         // when the present spin began, ns; 0: not spinning
	sober   int           // sleeps left until spinning is tried again
	worth   bool          // the last sleep was shorter than a spin
}

const sobriety = 256

// ShouldSleep reports whether to sleep now, at time now in ns.
func (i *Idler) ShouldSleep(now int64) bool {
	if i.Spin == 0 || !i.worth {
		return true
	}
	if i.started == 0 {
		i.started = now
		return false
	}
	if now-i.started < int64(i.Spin) {
		return false
	}
	i.started, i.worth, i.sober = 0, false, sobriety
	return true
}

// Slept learns how long a sleep was.
func (i *Idler) Slept(d time.Duration) {
	if i.sober > 0 {
		i.sober--
		return
	}
	i.worth = d < i.Spin
}

// Busy tells that packets came.
func (i *Idler) Busy() { i.started = 0 }
