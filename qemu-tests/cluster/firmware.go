package cluster

import (
	"fmt"
	"os"
	"strings"
)

// Firmware is a pair of UEFI flash images: the code, which every machine
// shares, and the template of the variable store, of which each has a copy.
type Firmware struct {
	Code, Vars string // paths
}

// firmwares are the places where distributions put OVMF without Secure Boot's
// enforcement, best first. The 4M and the 2M builds must not be mixed: the
// size of the variable store is compiled into the code.
var firmwares = [...]Firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},           // Debian 11 to 13, Ubuntu
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},                 // older Debian
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},       // Fedora
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},   // Arch
	{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"}, // openSUSE
}

// FindFirmware returns the first pair that is there whole.
func FindFirmware() (Firmware, error) {
	var looked []string
	for _, fw := range firmwares {
		if isFile(fw.Code) && isFile(fw.Vars) {
			return fw, nil
		}
		looked = append(looked, fw.Code)
	}
	return Firmware{}, fmt.Errorf("find UEFI firmware: none of %s (Debian: apt-get install ovmf)", strings.Join(looked, ", "))
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
