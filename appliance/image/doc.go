// Package image builds the appliance: a disk whose PID 1 is weir. Neither root nor loop devices are needed, nor anything that
// runs as a daemon; what is needed are apt and dpkg, which the kernel and the boot loader come by, and e2fsprogs.
//
//	packages.lock ──► fetch, unpack ──► kernel, systemd-boot and its stub, modules         packages.go
//	    flavour ──► closure of modules ─┐                                                  flavours.go, modules.go
//	       weir, static ────────────────┴─► cpio ──► zstd: the initramfs                   cpio.go, initramfs.go
//	command line, os-release, kernel ───────► appended to the stub: the UKI                commandline.go, uki.go
//	                                             ├─► signed: the upgrade                   layout
//	                                             └─► GPT, ESP, config partition: the disk  disk.go, config.go
//	checksums of it all, signed: the manifest                                              manifest.go
//
// The same input gives the same bytes: files are sorted, times are SOURCE_DATE_EPOCH or that of the pinned kernel, identities of
// disk and partitions are made from what is in them. So two disks from one build have the same identities; nothing asks for them.
//
// What boots, and how it finds what lies where, is in layout, which both sides import.
package image
