package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"trivet/firstboot/host"
)

// Object disks carry their name in the label of their file system, so that they
// keep it when the kernel finds them in another order. XFS labels have at most
// 12 characters (mkfs.xfs(8)).
var objectLabel = regexp.MustCompile(`^swift-(d[0-9]{1,3})$`)

const (
	deviceWait  = 30 * time.Second // for a declared disk to appear
	formatLimit = 10 * time.Minute
)

// formatMark names the disk that is being formatted, from before the first byte
// is written until after the last: after a power cut in between, that disk alone
// may be formatted over what is on it.
const formatMark = swiftState + "/formatting"

// A disk is a declared device and what was found on it.
type disk struct {
	path    string
	name    string // d1, d2, … of an object disk
	content string // says what else is there; empty if blank or an object disk
	missing string // says why it cannot be read; else empty
}

func (d disk) blank() bool { return d.name == "" && d.content == "" && d.missing == "" }

// objectDisks mounts the declared disks below /srv/node and returns their names.
// Blank ones are formatted first; one that holds anything else is an error, and
// nothing is changed.
func objectDisks(ctx context.Context, e Env) ([]string, error) {
	if len(e.Node.StorageDevices) == 0 {
		return nil, errors.New("mount object disks: the description names none; list whole disks below storage.devices")
	}
	var disks []disk
	for _, path := range e.Node.StorageDevices {
		d, err := probe(ctx, e, path)
		if err != nil {
			return nil, fmt.Errorf("look at disk %s: %w", path, err)
		}
		disks = append(disks, d)
	}
	fresh, err := nameDisks(disks)
	if err != nil {
		return nil, err
	}
	for _, i := range fresh {
		if err := format(ctx, e, disks[i]); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, d := range disks {
		if d.name == "" {
			e.Report("goes on without disk %s: %s", d.path, d.missing)
			continue
		}
		if err := mountDisk(ctx, e, d); err != nil {
			return nil, err
		}
		names = append(names, d.name)
	}
	if len(names) == 0 {
		return nil, errors.New("mount object disks: none of the declared disks is there")
	}
	return names, nil
}

// nameDisks gives blank disks the lowest free names and returns their indices.
// While a declared disk is missing, no name is known to be free, so a blank one
// is left alone until the missing one is back or out of the description.
func nameDisks(disks []disk) ([]int, error) {
	taken := map[string]string{}
	absent := ""
	for _, d := range disks {
		switch {
		case d.content != "":
			return nil, fmt.Errorf("disk %s holds %s, and nothing on it was changed; to give the disk to Swift, empty it with `wipefs --all %s`, or take it out of storage.devices", d.path, d.content, d.path)
		case d.missing != "":
			absent = d.path
		case d.name != "" && taken[d.name] != "":
			return nil, fmt.Errorf("disks %s and %s are both object disk %s; take the one that is too many out of storage.devices", taken[d.name], d.path, d.name)
		case d.name != "":
			taken[d.name] = d.path
		}
	}
	var fresh []int
	for i := range disks {
		if !disks[i].blank() {
			continue
		}
		if absent != "" {
			disks[i].missing = "it is blank, and its place is not known while " + absent + " is missing"
			continue
		}
		n := 1
		for taken[fmt.Sprintf("d%d", n)] != "" {
			n++
		}
		disks[i].name = fmt.Sprintf("d%d", n)
		taken[disks[i].name] = disks[i].path
		fresh = append(fresh, i)
	}
	return fresh, nil
}

// probe reads what is on a disk.
func probe(ctx context.Context, e Env, path string) (disk, error) {
	d := disk{path: path}
	if err := waitForDevice(ctx, e, path); err != nil {
		if ctx.Err() != nil {
			return d, err
		}
		d.missing = err.Error()
		return d, nil
	}
	// blkid exits 2 if it knows nothing of what is there, 8 if it knows too much.
	out, err := e.Run(ctx, host.Command{Args: []string{"blkid", "--probe", "--output", "export", path}})
	var exit *host.ExitError
	if err != nil && !(errors.As(err, &exit) && (exit.Code == 2 || exit.Code == 8)) {
		d.missing = err.Error()
		return d, nil
	}
	found := exported(out)
	label := objectLabel.FindStringSubmatch(found["LABEL"])
	ours := found["TYPE"] == "xfs" && label != nil
	switch {
	case marked(e, path) && (ours || len(found) == 0):
		// The power went while this very disk, which was blank, was formatted.
		return d, nil
	case ours:
		d.name = label[1]
		return d, nil
	case exit != nil && exit.Code == 8:
		d.content = "signatures of more than one kind"
		return d, nil
	}
	// wipefs lists every signature, where blkid stops at the first.
	signatures, err := e.Run(ctx, host.Command{Args: []string{"wipefs", "--no-act", "--noheadings", "--output", "TYPE,LABEL", path}})
	if err != nil {
		return d, err
	}
	d.content = strings.Join(strings.Fields(string(signatures)), " ")
	if d.content == "" {
		d.content = strings.TrimSpace(found["TYPE"] + " " + found["PTTYPE"])
	}
	return d, nil
}

// marked answers whether the formatting of the disk at path was begun and not
// ended.
func marked(e Env, path string) bool {
	text, err := os.ReadFile(e.Path(formatMark))
	return err == nil && string(text) == path
}

// waitForDevice waits a while for a device node: disks may come after systemd.
func waitForDevice(ctx context.Context, e Env, path string) error {
	deadline := time.Now().Add(deviceWait)
	for {
		_, err := os.Stat(e.Path(path))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("there is no %s after %s", path, deviceWait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// exported reads lines of KEY=value.
func exported(out []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	return values
}

// format makes an object disk of a blank one. Without -f mkfs.xfs refuses a disk
// that holds something after all; only a disk that the mark names is forced.
func format(ctx context.Context, e Env, d disk) error {
	e.Report("formats %s as object disk %s", d.path, d.name)
	args := []string{"mkfs.xfs", "-q", "-L", "swift-" + d.name}
	if marked(e, d.path) {
		args = append(args, "-f")
	} else if err := e.WriteFile(formatMark, []byte(d.path), 0o600, "", ""); err != nil {
		return err
	}
	if _, err := e.Run(ctx, host.Command{Args: append(args, d.path), Timeout: formatLimit}); err != nil {
		return fmt.Errorf("format %s: %w", d.path, err)
	}
	if err := os.Remove(e.Path(formatMark)); err != nil {
		return fmt.Errorf("format %s: %w", d.path, err)
	}
	return host.SyncDir(e.Path(swiftState))
}

// mountDisk mounts an object disk by a unit of its own, which lives until the
// node goes down, and hands its root to Swift.
func mountDisk(ctx context.Context, e Env, d disk) error {
	unit := "srv-node-" + d.name + ".mount"
	text := fmt.Sprintf(`[Unit]
Description=Object disk %s

[Mount]
What=%s
Where=/srv/node/%s
Type=xfs
Options=noatime,nosuid,nodev,noexec
DirectoryMode=0755
`, d.name, d.path, d.name)
	if err := e.WriteFile("/run/systemd/system/"+unit, []byte(text), 0o644, "", ""); err != nil {
		return err
	}
	if _, err := e.Run(ctx, host.Command{Args: []string{"systemctl", "daemon-reload"}}); err != nil {
		return fmt.Errorf("mount disk %s: %w", d.path, err)
	}
	if err := e.Start(ctx, "srv-node.mount", unit); err != nil {
		return fmt.Errorf("mount disk %s: %w", d.path, err)
	}
	if _, err := e.Run(ctx, host.Command{Args: []string{"chown", "swift:swift", "/srv/node/" + d.name}}); err != nil {
		return fmt.Errorf("hand disk %s to Swift: %w", d.path, err)
	}
	return nil
}
