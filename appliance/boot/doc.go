// Package boot is what weir does as PID 1 of its appliance: an initramfs with weir as /init and nothing else.
//
//	kernel ──► Run ──► mounts, modules, loopback, configuration partition, watchdog
//	             │
//	             ├─► the data plane: `weir run` as a child, by the protocol of sd_notify; started again when it ends
//	             ├─► console: a page that says what this is, where it can be reached, and how it is
//	             ├─► trial: a slot that was counted is blessed when it works, and given up when it does not
//	             └─► requests of the data plane, by a socket: reboot, power-off, upgrade, rollback, platform
//
// The data plane is another process, so that PID 1, whose end is a panic of the kernel, does little and outlives it.
//
// guard.go says when any of this may run at all; machine.go has the life; supervisor.go and notify.go the child; watchdog.go
// what feeds the hardware's; partitions.go and config.go disks; slots.go, esp.go, upgrade.go and trial.go the two slots; server.go
// and client.go requests; console.go the page; platform.go what `show platform` shows; shutdown.go the end.
//
// What to beware of:
//   - Run mounts, loads modules, and ends with a reboot. The guard refuses everywhere but on the appliance: nothing may come before it.
//   - Children belong to exec.Cmd; reap.go takes only those that nobody waits for.
//   - The EFI partition is FAT, which has no journal. It is mounted for the moments in which a slot is written or renamed, and no longer.
package boot
