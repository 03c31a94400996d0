package boot

import (
	"context"
	"time"
)

// A Kernel is what the initrd asks of the kernel beyond reading and writing
// files. Linux is the real one. Paths are the machine's.
type Kernel interface {
	// Release is the kernel's version, as uname -r prints it.
	Release() (string, error)
	// LoadModule loads the module in a file. One that is there already is
	// syscall.EEXIST.
	LoadModule(file, params string) error
	Mount(source, target, fstype string, flags uintptr, data string) error
	// Detach takes a mount away, lazily.
	Detach(target string) error
	// OpenVerity creates a dm-verity device and returns its node.
	OpenVerity(v VerityDevice) (string, error)
	// AddPartition tells the kernel of a partition that it did not find itself.
	AddPartition(disk string, number int, start, length int64) error
	// Random fills b with random bytes, or fails if there are none yet.
	Random(b []byte) error
	// Wait returns when a device came or went, or after d.
	Wait(d time.Duration)
	// SwitchRoot makes newRoot the root and frees what the initrd held.
	SwitchRoot(newRoot string) error
	// Exec replaces this program. It returns only if that fails.
	Exec(args, env []string) error
}

// A Program runs a program of the root file system at root, with that as its
// root. It returns what the program printed and its exit code; err says that it
// did not run to its end: not started, killed, or out of time.
type Program func(ctx context.Context, root string, limit time.Duration, args ...string) (output string, code int, err error)

// A Report takes what happened. States are those of the status records: start,
// done, failed, waiting. Fields may be nil.
type Report func(step, state, message string, fields map[string]any)
