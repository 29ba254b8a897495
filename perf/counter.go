package perf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/link"

	"weir/perf/lab"
)

// counter counts a stream's packets on a device and drops them.
type counter struct {
	objects counterObjects
	link    link.Link
}

// newCounter attaches to a device, which must be the stream's destination.
func newCounter(host *lab.Host, device string, s stream) (*counter, error) {
	index, err := host.Index(device)
	if err != nil {
		return nil, err
	}
	c := &counter{}
	if err := loadCounterObjects(&c.objects, nil); err != nil {
		return nil, fmt.Errorf("load counter: %w", err)
	}
	mac, err := host.MAC(device)
	if err == nil {
		err = c.objects.Stream.Set(&counterStream{Dst: macWords(mac), Port: s.port})
	}
	if err == nil {
		err = host.Do(func() (err error) {
			c.link, err = link.AttachXDP(link.XDPOptions{
				Program: c.objects.Count, Interface: index, Flags: link.XDPDriverMode,
			})
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach counter to %s: %w", device, err), c.objects.Close())
	}
	return c, nil
}

// read sums what all CPUs have counted.
func (c *counter) read() (sum counterCounts, err error) {
	var perCPU []counterCounts
	if err := c.objects.Counts.Lookup(uint32(0), &perCPU); err != nil {
		return sum, fmt.Errorf("read counter: %w", err)
	}
	for _, n := range perCPU {
		sum.Frames += n.Frames
		sum.Bytes += n.Bytes
		sum.Strangers += n.Strangers
	}
	return sum, nil
}

// settle waits until want packets have been counted since before, or nothing more has arrived for a while, and
// returns what was counted.
func (c *counter) settle(ctx context.Context, before counterCounts, want uint64) (counterCounts, error) {
	const step, quiet = 2 * time.Millisecond, 30 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	last, still := before, time.Duration(0)
	for {
		now, err := c.read()
		if err != nil || now.Frames-before.Frames >= want {
			return now, err
		}
		if still += step; now.Frames != last.Frames {
			last, still = now, 0
		}
		if still >= quiet {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-ticker.C:
		}
	}
}

func (c *counter) close() error { return errors.Join(c.link.Close(), c.objects.Close()) }
