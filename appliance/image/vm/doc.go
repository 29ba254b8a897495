// Package vm runs images in QEMU, for tests. The processor is emulated (TCG): nothing but QEMU and OVMF need be there, and what
// takes a second on a machine takes ten. WEIR_KVM=1 asks for KVM.
//
//	disk := vm.Copy(t, image)                      // a disk is written to: each test has its own
//	m := vm.Start(t, vm.Options{Disk: disk, NICs: []vm.NIC{{Host: client, Device: "eth0", Queues: 2}}})
//	m.Await(`listening on (\S+)`)                  // on the serial console, behind what was awaited before
//	vm.Login{Host: client, ...}.Await(t, "show version")
//	m.Cut()                                        // as if somebody pulled the plug
//
// A NIC's other end is a TAP device in a laboratory's host, which sends and receives what it would on a link. Waiting ends when
// what is awaited is there; time-outs are for what never comes, and generous.
package vm
