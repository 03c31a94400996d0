package disk

import (
	"fmt"
	"strings"
)

// minVar is the smallest /var that repart may make: a smaller disk is an error
// on the machine's console and not a node that fills up on its first day.
const minVar = 1 << 30

// Repart returns the definitions (repart.d(5), file name → content) by which
// systemd-repart completes the disk on the machine. They name all partitions:
// those of the image so that they are found and left alone, slot B as large as
// slot A, and /var, which takes what is left but for the padding at the disk's
// end.
func Repart(l Layout) (map[string]string, error) {
	l, a, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	fixed := func(kind, label string, n int64) string {
		return definition("Type="+kind, "Label="+label, fmt.Sprintf("SizeMinBytes=%d", n), fmt.Sprintf("SizeMaxBytes=%d", n))
	}
	root, verity := "root-"+a.name, "root-"+a.name+"-verity"
	return map[string]string{
		"10-esp.conf":      fixed("esp", "ESP", l.ESP),
		"20-root-a.conf":   fixed(root, "root-a", l.Root),
		"21-verity-a.conf": fixed(verity, "verity-a", l.Verity),
		"30-root-b.conf":   fixed(root, "root-b", l.Root),
		"31-verity-b.conf": fixed(verity, "verity-b", l.Verity),
		"40-var.conf": definition("Type=var", "Label=var", "Format=ext4", fmt.Sprintf("SizeMinBytes=%d", minVar),
			fmt.Sprintf("PaddingMinBytes=%d", l.Padding), fmt.Sprintf("PaddingMaxBytes=%d", l.Padding)),
	}, nil
}

func definition(lines ...string) string {
	return "# Written by trivet build from the role's disk sizes.\n[Partition]\n" + strings.Join(lines, "\n") + "\n"
}
