// Command trivet-init is the /init of an image's initrd. Package boot does the work; this
// program gives it the machine, and tells what happens on the console, in the
// kernel's log and on the virtio port trivet.status.
//
// The kernel calls it as /sbin/modprobe too, while the initrd runs.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"trivet/firstboot/boot"
	"trivet/firstboot/host"
)

// restartAfter gives a person time to read, and a console time to send.
const restartAfter = 10 * time.Second

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(modprobe(os.Args[len(os.Args)-1]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "trivet-init is the first program of a machine's initrd; it does nothing elsewhere")
		os.Exit(2)
	}
	t := newTeller()
	defer func() {
		if r := recover(); r != nil {
			t.Say("init", "failed", fmt.Sprintf("this is a bug of trivet-init: %v", r), nil)
		}
		restart(t)
	}()
	kernel, err := boot.OpenEvents()
	if err != nil {
		t.Say("init", "waiting", err.Error(), nil)
	}
	b := boot.Boot{
		Root: "/", Kernel: kernel, Run: host.RunIn, Say: t.Say, Now: time.Now,
		Args: os.Args[1:], Env: os.Environ(),
	}
	_ = b.Start(context.Background()) // told already
}

// modprobe loads what the kernel asks for, and notes it in the kernel's log.
func modprobe(name string) (code int) {
	err := boot.Modprobe(boot.Linux{Events: -1}, "/", name)
	if kmsg, openErr := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); openErr == nil {
		fmt.Fprintf(kmsg, "<15>trivet-init modprobe: the kernel asked for %.200s: %v\n", printable(name), err)
		_ = kmsg.Close()
	}
	if err != nil {
		return 1
	}
	return 0
}

// restart is the end of a boot that went wrong.
func restart(t *teller) {
	t.Say("init", "failed", "this machine does not boot; it restarts in ten seconds", nil)
	unix.Sync()
	time.Sleep(restartAfter)
	t.close()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	// The end of the first program makes the kernel panic, and restart by panic=10.
	t.Say("init", "failed", fmt.Sprintf("restart: %v", err), nil)
	os.Exit(1)
}
