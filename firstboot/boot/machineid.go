package boot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// stateDir is the agent's own folder, which outlives images.
const stateDir = "var/lib/trivet"

const machineIDFile = "machine-id"

// giveMachineID gives the machine the identity that it got at its first boot.
func (b *Boot) giveMachineID(context.Context) (string, error) {
	dir := filepath.Join(b.at(newRoot), stateDir)
	id, made, aside, err := keepMachineID(dir, b.Kernel.Random)
	if err != nil {
		return "", advise(err, "is /var full or read-only? see what fsck said")
	}
	b.record.FirstBoot = made
	if aside != "" {
		b.Say("machine-id", "waiting", fmt.Sprintf("/%s/%s held no machine id; it is kept as %s, and a new one is made: to the clusters this is a new machine", stateDir, machineIDFile, aside), nil)
	}
	// machine-id(5): readable by all, written by nobody.
	if err := os.WriteFile(b.at(newRoot+"/etc/machine-id"), []byte(id+"\n"), 0o444); err != nil {
		return "", fmt.Errorf("write /etc/machine-id: %w", err)
	}
	if made {
		return id + " is new", nil
	}
	return id, nil
}

// keepMachineID returns the id kept in dir. If there is none, it makes one and
// keeps it so that no power cut loses it again; what is no id is put aside.
func keepMachineID(dir string, random func([]byte) error) (id string, made bool, aside string, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", false, "", err
	}
	// The agent keeps secrets in it.
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", false, "", err
	}
	path := filepath.Join(dir, machineIDFile)
	id, err = readMachineID(path)
	switch {
	case err == nil:
		return id, false, "", nil
	case errors.Is(err, errNoMachineID):
		if aside, err = putAside(path); err != nil {
			return "", false, "", err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, "", fmt.Errorf("read the machine id: %w", err)
	}
	b := make([]byte, 16)
	if err := random(b); err != nil {
		return "", false, "", err
	}
	// A random UUID, as systemd makes it (machine-id(5)).
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id = hex.EncodeToString(b)
	if err := writeLasting(path, []byte(id+"\n"), 0o444); err != nil {
		return "", false, "", fmt.Errorf("keep the machine id: %w", err)
	}
	return id, true, aside, nil
}

var errNoMachineID = errors.New("it is not 32 hexadecimal digits")

// readMachineID reads a file of machine-id(5)'s form.
func readMachineID(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > 64 {
		return "", errNoMachineID
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return parseMachineID(text)
}

// parseMachineID takes 32 lower-case hexadecimal digits, not all zeros, and an
// optional newline.
func parseMachineID(text []byte) (string, error) {
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	if len(text) != 32 {
		return "", errNoMachineID
	}
	zeros := true
	for _, c := range text {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return "", errNoMachineID
		}
		zeros = zeros && c == '0'
	}
	if zeros {
		return "", errNoMachineID
	}
	return string(text), nil
}

// putAside renames what lies at path to the first free name path.bad-N and
// returns that name.
func putAside(path string) (string, error) {
	for n := 1; n < 1000; n++ {
		aside := fmt.Sprintf("%s.bad-%d", path, n)
		if exists(aside) {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
		return filepath.Base(aside), nil
	}
	return "", fmt.Errorf("put %s aside: there are 999 bad ones already", path)
}

// writeLasting writes a file so that after a power cut it is there whole, or not
// at all; and so are the folders that lead to it, made by MkdirAll.
func writeLasting(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	for range 3 { // var/lib/trivet, var/lib, var
		if err := syncDir(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
