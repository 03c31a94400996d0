package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// dmiFiles gives for each DMI key of cloud-init, which has dmidecode's names,
// the file below /sys/class/dmi/id (cloudinit/dmi.py, DMIDECODE_TO_KERNEL).
func dmiFiles() map[string]string {
	return map[string]string{
		"baseboard-asset-tag": "board_asset_tag", "baseboard-manufacturer": "board_vendor",
		"baseboard-product-name": "board_name", "baseboard-serial-number": "board_serial",
		"baseboard-version": "board_version", "bios-release-date": "bios_date",
		"bios-vendor": "bios_vendor", "bios-version": "bios_version",
		"chassis-asset-tag": "chassis_asset_tag", "chassis-manufacturer": "chassis_vendor",
		"chassis-serial-number": "chassis_serial", "chassis-version": "chassis_version",
		"system-manufacturer": "sys_vendor", "system-product-name": "product_name",
		"system-serial-number": "product_serial", "system-uuid": "product_uuid",
		"system-version": "product_version",
	}
}

const dmiFolder = "/sys/class/dmi/id"

// readDMI reads a value of the firmware, or "" if the machine has none. A value
// of 0xff bytes was never set.
func readDMI(env Env, file string) (string, error) {
	data, err := os.ReadFile(env.path(filepath.Join(dmiFolder, file)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the firmware's %s: %w", file, err)
	case len(bytes.Trim(data, "\xff\n")) == 0:
		return "", nil
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data), "?")), nil
}

var dmiPattern = regexp.MustCompile(`__dmi\.([^_]+)__`)

// expandDMI fills in __dmi.KEY__, as cloud-init does. A value that the machine
// does not have is empty; a key that there is not is an error.
func expandDMI(env Env, text string) (string, error) {
	var wrong error
	files := dmiFiles()
	out := dmiPattern.ReplaceAllStringFunc(text, func(match string) string {
		key := dmiPattern.FindStringSubmatch(match)[1]
		file, ok := files[key]
		if !ok {
			wrong = errors.Join(wrong, fmt.Errorf("__dmi.%s__ is not known; the keys are %s", key, sortedKeys(files)))
			return match
		}
		value, err := readDMI(env, file)
		wrong = errors.Join(wrong, err)
		return url.PathEscape(value)
	})
	return out, wrong
}

func sortedKeys(m map[string]string) string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}
