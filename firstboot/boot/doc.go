// Package boot is the work of the initrd: from the kernel's first program to the
// start of systemd in the sealed root.
//
// It loads the modules that the machine's hardware asks for, finds the two
// partitions that the root hash on the kernel command line names, opens
// dm-verity on them, mounts the root, makes and mounts /var on the same disk,
// lays a tmpfs over /etc, gives the machine its identity and switches root.
//
// What touches the kernel goes through the interface Kernel, what runs a program
// through a Program, and every path through Boot.Root, so that the whole way runs
// in a test without a machine. Every wait is bounded; what cannot go on ends in a
// Problem, which says what is wrong, where, and what to do.
package boot
