package initrd

// DefaultModules lists the modules of every image: what a machine needs to find
// its disk or its network, verify and mount its root. A name that ends in "?" is
// left out where the kernel has no such module (another architecture, the cloud
// kernel).
func DefaultModules() []string {
	var out []string
	for _, group := range [][]string{rootModules(), busModules(), storageModules(), networkModules()} {
		out = append(out, group...)
	}
	return out
}

// rootModules make the root of an image: device mapper, file systems, the seed
// disks (FAT, ISO 9660) and the processor's own SHA-256 and CRC, without which
// dm-verity is several times slower.
func rootModules() []string {
	return []string{
		"dm_mod", "dm_verity", "squashfs", "erofs", "overlay", "loop",
		"ext4", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "isofs",
		"sha256_ssse3?", "sha256_ce?", "sha2_ce?", "crc32c_intel?", "crc32c_generic?", "crct10dif_pclmul?",
		"efivarfs", "qemu_fw_cfg?", "dmi_sysfs?",
	}
}

// busModules find what is plugged in: virtio, USB with storage and keyboards,
// and the buses of other hypervisors.
func busModules() []string {
	return []string{
		"virtio_pci", "virtio_mmio?", "virtio_console", "virtio_rng",
		"xhci_pci", "ehci_pci", "ohci_pci?", "uhci_hcd?", "usbhid", "hid_generic", "usb_storage", "uas",
		"hv_vmbus?", "vmd?",
	}
}

// storageModules drive disks: virtio, NVMe, AHCI, and the usual SAS and RAID
// controllers of servers.
func storageModules() []string {
	return []string{
		"sd_mod", "sr_mod", "virtio_blk", "virtio_scsi", "nvme", "ahci", "ata_piix?", "ata_generic?",
		"megaraid_sas?", "mpt3sas?", "mpi3mr?", "hpsa?", "smartpqi?", "aacraid?", "arcmsr?", "mvsas?", "pm80xx?", "isci?",
		"mptspi?", "mptsas?", "vmw_pvscsi?", "hv_storvsc?",
	}
}

// networkModules drive network cards, for a boot over the network.
func networkModules() []string {
	return []string{
		"virtio_net", "e1000?", "e1000e?", "igb?", "igc?", "ixgbe?", "ixgbevf?", "i40e?", "iavf?", "ice?",
		"mlx4_en?", "mlx5_core?", "bnxt_en?", "bnx2x?", "tg3?", "ena?", "vmxnet3?", "hv_netvsc?",
	}
}
