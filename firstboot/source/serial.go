package source

import (
	"strings"
)

// serialFile is the product serial of SMBIOS type 1, for root alone to read.
const serialFile = "product_serial"

const bySerial = "the SMBIOS serial number"

// lookSerial takes the URL of a serial number such as
// `ds=nocloud;s=http://192.0.2.1:8000/`, at its start or after a space, as
// cloud-init's NoCloud has it. Its older name ds=nocloud-net works too.
func lookSerial(env Env) (*Candidate, error) {
	serial, err := readDMI(env, serialFile)
	if err != nil {
		return nil, err
	}
	if serial == "" {
		return nil, Absent("this machine has no SMBIOS serial number")
	}
	args, found := parseSerial(serial)
	switch {
	case !found:
		return nil, Absent("the serial number does not hold ds=nocloud")
	case args.from == "":
		return nil, Absent("the serial number holds ds=nocloud but no s=http://…, so the seed is to be found here")
	}
	return lookSeed(env, args, bySerial)
}

// parseSerial returns what follows ds=nocloud.
func parseSerial(serial string) (args seedArgs, found bool) {
	for word := range strings.FieldsSeq(serial) {
		parts := strings.Split(word, ";")
		if name := strings.ToLower(parts[0]); name == "ds=nocloud" || name == "ds=nocloud-net" {
			return parseSeedArgs(parts[1:]), true
		}
	}
	return seedArgs{}, false
}
