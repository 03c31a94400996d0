package join

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trivet/firstboot/host"
)

// swiftState keeps what Swift needs beside its disks from boot to boot.
const swiftState = "/var/lib/trivet/swift"

// swift brings up a Swift server: it mounts the object disks, puts the rings
// where Swift looks for them, and starts the service's units.
func swift() Step {
	return Step{
		Name: "swift",
		Done: func(ctx context.Context, e Env) (bool, error) { return e.Active(ctx) },
		Do: func(ctx context.Context, e Env) error {
			disks, err := objectDisks(ctx, e)
			if err != nil {
				return err
			}
			if err := placeRings(ctx, e, disks); err != nil {
				return err
			}
			return e.Start(ctx)
		},
	}
}

// A ring is one of Swift's three, with the port of its servers.
type ring struct {
	name string
	port int
}

// rings returns the three rings, with the ports that the role gives them.
func rings(e Env) ([]ring, error) {
	var all []ring
	for _, name := range []string{"account", "container", "object"} {
		s, ok := e.Role.Service("swift-" + name)
		if !ok || len(s.Ports) == 0 {
			return nil, fmt.Errorf("make rings: the role has no service swift-%s with a port", name)
		}
		all = append(all, ring{name, s.Ports[0].Number})
	}
	return all, nil
}

// placeRings copies the rings to /etc/swift, which is new at every boot. A lab's
// node makes them for itself.
func placeRings(ctx context.Context, e Env, disks []string) error {
	all, err := rings(e)
	if err != nil {
		return err
	}
	get, err := ringFiles(ctx, e, all, disks)
	if err != nil {
		return err
	}
	for _, r := range all {
		data, err := get(r.name + ".ring.gz")
		if err != nil {
			return fmt.Errorf("place rings: %w", err)
		}
		if err := e.WriteFile("/etc/swift/"+r.name+".ring.gz", data, 0o644, "", ""); err != nil {
			return err
		}
	}
	return nil
}

// ringFiles returns where the rings are read: the bundle, if it has them, else
// what a lab's node makes.
func ringFiles(ctx context.Context, e Env, all []ring, disks []string) (func(name string) ([]byte, error), error) {
	inBundle := func(name string) ([]byte, error) {
		data, ok := e.Files["rings/"+name]
		if !ok {
			return nil, fmt.Errorf("the bundle has rings, but not %s; make it anew", name)
		}
		return data, nil
	}
	for path := range e.Files {
		if strings.HasPrefix(path, "rings/") {
			return inBundle, nil
		}
	}
	if !e.Node.Lab() {
		return nil, errors.New("place rings: the bundle has none; only the storage node of a lab, with one controller, makes its own")
	}
	dir, err := labRings(ctx, e, all, disks)
	return func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }, err
}

// labRings returns the folder with the rings of a node that has all replicas to
// itself, and makes it if the disks or the address are new. The folder's name
// tells what its rings hold, and it gets that name when it is whole, so a power
// cut leaves either the old rings or the new.
func labRings(ctx context.Context, e Env, all []ring, disks []string) (string, error) {
	address := e.Node.Address.Addr().String()
	sum := sha256.Sum256([]byte(address + " " + strings.Join(disks, " ")))
	dir := e.Path(swiftState + "/rings-" + hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for rings: %w", err)
	}
	old, err := filepath.Glob(e.Path(swiftState + "/rings-*"))
	if err != nil {
		return "", fmt.Errorf("look for rings: %w", err)
	}
	e.Report("makes rings for %s", strings.Join(disks, ", "))
	fresh := e.Path(swiftState + "/new")
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("make rings: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return "", fmt.Errorf("make rings: %w", err)
	}
	for _, r := range all {
		if err := makeRing(ctx, e, fresh, r, address, disks); err != nil {
			return "", err
		}
	}
	if err := host.SyncFS(fresh); err != nil {
		return "", fmt.Errorf("make rings: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		return "", fmt.Errorf("make rings: %w", err)
	}
	for _, path := range old {
		if err := os.RemoveAll(path); err != nil {
			return "", fmt.Errorf("remove old rings: %w", err)
		}
	}
	return dir, host.SyncDir(filepath.Dir(dir))
}

// Parameters of a lab's rings (swift-ring-builder(1)). A part power of 10 is for
// a handful of disks; the seed makes the same rings of the same disks.
const (
	ringPartPower    = "10"
	ringMinPartHours = "1"
	ringSeed         = "trivet"
	maxReplicas      = 3
)

// makeRing builds one ring. The same disks give the same ring, with one replica
// a disk up to three; what moves when a disk is added, Swift's replicators move.
func makeRing(ctx context.Context, e Env, dir string, r ring, address string, disks []string) error {
	builder := filepath.Join(dir, r.name+".builder")
	replicas := fmt.Sprint(min(maxReplicas, len(disks)))
	steps := [][]string{{"create", ringPartPower, replicas, ringMinPartHours}}
	for _, d := range disks {
		steps = append(steps, []string{"add", fmt.Sprintf("r1z1-%s:%d/%s", address, r.port, d), "100"})
	}
	steps = append(steps, []string{"rebalance", ringSeed})
	for _, step := range steps {
		args := slices.Concat([]string{"swift-ring-builder", builder}, step)
		_, err := e.Run(ctx, host.Command{Args: args})
		var exit *host.ExitError
		// 1 is a warning, such as a balance that one disk cannot have.
		if errors.As(err, &exit) && exit.Code == 1 {
			continue
		}
		if err != nil {
			return fmt.Errorf("make the %s ring: %w", r.name, err)
		}
	}
	return nil
}
