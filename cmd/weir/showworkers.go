package main

import (
	"fmt"
	"time"

	"weir/appliance"
)

func workersOf(s appliance.State) []appliance.WorkerState { return orEmpty(s.Workers) }

func workersText(list []appliance.WorkerState) string {
	return table(func(row func(...any)) {
		row("WORKER", "CPU", "BUSY", "PACKETS", "BATCHES", "PACKETS/BATCH", "SLEEPS", "PUBLICATION")
		for _, w := range list {
			row(w.Worker, w.CPU, percent(busy(w)), w.Packets, w.Batches, perBatch(w), w.Sleeps, w.Epoch)
		}
	})
}

// busy is the share of its time that a worker did not sleep.
func busy(w appliance.WorkerState) float64 {
	if w.Uptime <= 0 {
		return 0
	}
	return 1 - min(1, float64(max(0, w.Asleep))/float64(w.Uptime/time.Nanosecond))
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

func perBatch(w appliance.WorkerState) string {
	if w.Batches == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(w.Packets)/float64(w.Batches))
}
