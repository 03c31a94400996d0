package builder

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

// A HostCheck is one thing that a build needs of its host.
type HostCheck struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Fix  string `json:"fix,omitempty"` // what to do when it is not OK
}

// Verdict is "ok" or "no".
func (c HostCheck) Verdict() string {
	if c.OK {
		return "ok"
	}
	return "no"
}

// Hint is the fix, as the end of a line; empty when all is well.
func (c HostCheck) Hint() string {
	if c.OK {
		return ""
	}
	return ": " + c.Fix
}

// minFree is what three roles need of disk below the cache, in bytes: package
// files, layers, sealed roots and artifacts of one generation, measured.
const minFree = 15 << 30

// Doctor looks at everything that a build needs of this host.
func Doctor(ctx context.Context, cache string) []HostCheck {
	checks := []HostCheck{program("apt-get", "apt", "resolves the packages")}
	if os.Geteuid() != 0 {
		checks = append(checks,
			program("unshare", "util-linux", "makes the user namespace of an ordinary user"),
			program("newuidmap", "uidmap", "maps the sub-ids of an ordinary user"),
			subIDs())
	}
	return append(checks, overlayWorks(ctx, cache), space(cache))
}

func program(name, pkg, why string) HostCheck {
	_, err := host.Look(name)
	return HostCheck{Name: fmt.Sprintf("program %s (%s)", name, why), OK: err == nil, Fix: "apt-get install " + pkg}
}

// subIDs looks for the user in subuid(5).
func subIDs() HostCheck {
	c := HostCheck{Name: "sub-ids of this user in /etc/subuid", Fix: "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"}
	text, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return c
	}
	uid, user := fmt.Sprint(os.Getuid()), os.Getenv("USER")
	for _, line := range strings.Split(string(text), "\n") {
		owner, _, _ := strings.Cut(line, ":")
		if owner != "" && (owner == uid || owner == user) {
			c.OK = true
		}
	}
	return c
}

// overlayWorks makes a sandbox over two layers and runs a function in it.
func overlayWorks(ctx context.Context, cache string) HostCheck {
	c := HostCheck{Name: "namespaces and overlay mounts"}
	if os.Geteuid() != 0 {
		c.OK, c.Name = true, c.Name+" (tried by the build itself, in its user namespace)"
		return c
	}
	dir, err := scratch(cache)
	if err != nil {
		c.Fix = err.Error()
		return c
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"/a", "/b"} {
		if err := os.Mkdir(dir+name, 0o755); err != nil {
			c.Fix = err.Error()
			return c
		}
	}
	box := host.Sandbox{Mounts: []host.Mount{{Target: "/", Layers: []string{dir + "/a", dir + "/b"}, Upper: dir + "/up", Work: dir + "/work"}}}
	err = box.Run(ctx, host.Command{Func: nothingFunc})
	c.OK = err == nil
	if err != nil {
		c.Fix = fmt.Sprintf("run as root outside of a restricted container, kernel 5.11 or newer (%v)", err)
	}
	return c
}

func scratch(cache string) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache %s: %w; give --cache DIR", cache, err)
	}
	return os.MkdirTemp(cache, ".tmp-doctor-")
}

func space(cache string) HostCheck {
	c := HostCheck{Name: fmt.Sprintf("%d GiB free for the cache and the artifacts", minFree>>30), Fix: "free some, trivet cache prune, or give --cache DIR"}
	dir := cache
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			free := int64(st.Bavail) * st.Bsize
			c.OK = free >= minFree
			c.Fix = fmt.Sprintf("%d GiB are free: %s", free>>30, c.Fix)
			return c
		}
		if dir = parent(dir); dir == "" {
			return c
		}
	}
}

func parent(dir string) string {
	i := strings.LastIndexByte(dir, '/')
	if i <= 0 {
		return ""
	}
	return dir[:i]
}
