package image

import (
	"fmt"
	"slices"
)

// A flavour is a kernel of Debian's and the modules that the router needs of it: what they depend on comes with them.
type flavour struct {
	name    string
	modules []string // in the order to load them
}

// common is what weir needs wherever it runs: disks and their file systems, VLANs, the way to the kernel for packets.
var common = []string{
	"crc32c_intel", "ext4", "nls_cp437", "nls_ascii", "nls_utf8", "vfat", "efivarfs", "tun", "8021q",
	"virtio_pci", "virtio_rng", "virtio_blk", "virtio_scsi", "sd_mod", "nvme",
	"hv_storvsc", "vmw_pvscsi", "xen_blkfront",
}

// essential is true of what no image starts without: the file systems of its partitions.
func essential(module string) bool { return module == "vfat" || module == "ext4" }

// virtual are the NICs of virtual machines.
var virtual = []string{
	"virtio_net", "vmxnet3", "ena", "gve", "hv_netvsc", "mana", "xen_netfront", "ixgbevf", "mlx4_en", "mlx5_core",
}

// bare is what machines of metal have besides: their NICs, disks, keyboards and watchdogs.
var bare = []string{
	"ahci", "ata_piix", "megaraid_sas", "mpt3sas", "smartpqi", "xhci_pci", "ehci_pci", "usb_storage", "uas", "sdhci_pci", "sdhci_acpi", "mmc_block",
	"e1000", "e1000e", "igb", "igbvf", "igc", "ixgbe", "i40e", "iavf", "ice",
	"bnxt_en", "tg3", "r8169", "atlantic", "sfc", "cxgb4",
	"usbhid", "hid_generic",
	"iTCO_wdt", "i6300esb", "sp5100_tco",
}

// The software watchdog comes last, so that where there is one of hardware, that is /dev/watchdog.
var last = []string{"wdat_wdt", "softdog"}

var flavours = []flavour{
	{"cloud", slices.Concat(common, virtual, last)},
	{"metal", slices.Concat(common, virtual, bare, last)},
}

// flavourOf returns the flavour of a name.
func flavourOf(name string) (flavour, error) {
	for _, f := range flavours {
		if f.name == name {
			return f, nil
		}
	}
	return flavour{}, fmt.Errorf("%q is no flavour: cloud and metal are", name)
}
