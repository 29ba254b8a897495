// Package layout is what the image and the router that boots from it agree on: names of partitions and files, the
// command line's tokens, what the image says of itself, and the form of upgrades. Both sides import it, neither imports
// the other.
//
// The disk has two partitions that are found by their names in the partition table, never by that of a device:
//
//	WEIR-ESP     FAT32   EFI/BOOT/BOOTX64.EFI     systemd-boot
//	                     loader/loader.conf       no menu, and no default: see below
//	                     EFI/Linux/weir-A+3.efi   unified kernel images, one a slot
//	                     EFI/Linux/weir-B.efi
//	WEIR-CONFIG  ext4    weir.yaml, authorized_keys; what the router keeps
//
// Which slot boots is decided by systemd-boot, from names and contents alone: a slot with a counter (+LEFT or +LEFT-DONE)
// has that many tries left, each of which is counted before the kernel starts; one without a counter is good. Slots without
// tries come last; among the others the higher generation comes first. So an upgrade is a file with tries and the next generation in
// the slot that does not run, and a slot that is never made good by renaming it gives way to the old one. loader.conf must not
// say a default, which systemd-boot would take even when its tries are used up.
//
// Slot and generation stand in the image itself (sections .cmdline and .osrel), in places of fixed width, so that
// one signed upgrade fits either slot: Place writes them after the signature was checked.
package layout
