package qemutests

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestImageIsTheSameWhoeverBuildsIt builds each role of OUT twice from its
// lock: as the tester does, and with another user where there is one with
// sub-ids, another umask, time zone, locale, directory and number of workers,
// and with an empty cache. All artifacts must have the same digests.
func TestImageIsTheSameWhoeverBuildsIt(t *testing.T) {
	images(t)
	w := newWorkshop(t)
	eachImage(t, func(t *testing.T, i image) {
		first := t.TempDir()
		build(t, first, "--locked", i.file(".lock"), "--sector-size", i.sectorSize(), i.Role)
		started := time.Now()
		second := w.build(t, i)
		t.Logf("built elsewhere with an empty cache in %.0f s", time.Since(started).Seconds())
		if diff := cmp.Diff(digests(t, first), digests(t, second)); diff != "" {
			t.Errorf("artifacts by SHA-256 (-here +elsewhere):\n%s", diff)
		}
	})
}

// digests maps the files of a directory to their SHA-256.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, path := range found {
		sums[filepath.Base(path)] = fileDigest(t, path)
	}
	if len(sums) == 0 {
		t.Fatalf("nothing was built in %s", dir)
	}
	return sums
}

// A workshop is another place to build at: a copy of the sources and of the
// program, an empty cache, another user.
type workshop struct {
	dir  string
	user *user.User // nil: the tester
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	program := trivet(t)
	// Not t.TempDir(), which only its owner can enter.
	dir, err := os.MkdirTemp("", "trivet-elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeAll(dir) }) // a scratch directory: what stays is reported by the system
	w := workshop{dir: filepath.Join(dir, "other place")}
	for _, from := range []string{"roles", "overlays"} {
		if err := copyTree(filepath.Join(repository, from), filepath.Join(w.dir, "source", from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"trivet", "trivet-init", "trivet-agent"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(program), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(w.dir, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, "bin", name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if w.user, err = otherUser(); err != nil {
		t.Logf("the second build has the same user: %v", err)
		return w
	}
	t.Logf("the second build is user %s's", w.user.Username)
	if err := w.giveAway(dir); err != nil {
		t.Fatal(err)
	}
	return w
}

// otherUser finds a user who may build: one with sub-ids (subuid(5)) who is not
// the tester. Only root can become another user.
func otherUser() (*user.User, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("only root can become another user")
	}
	data, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, ":")
		if u, err := user.Lookup(name); err == nil && u.Uid != "0" {
			return u, nil
		}
	}
	return nil, fmt.Errorf("nobody but root stands in /etc/subuid")
}

func (w workshop) giveAway(top string) error {
	uid, gid, err := w.ids()
	if err != nil {
		return err
	}
	return filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

func (w workshop) ids() (uid, gid int, err error) {
	if uid, err = strconv.Atoi(w.user.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(w.user.Gid)
	return uid, gid, err
}

// build builds a role of the workshop's sources and returns the artifacts'
// directory.
func (w workshop) build(t *testing.T, i image) string {
	t.Helper()
	out := filepath.Join(w.dir, "out "+i.Base)
	lock, err := os.ReadFile(i.file(".lock"))
	if err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(w.dir, i.Base+".lock")
	if err := os.WriteFile(locked, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", `umask 077 && exec "$0" "$@"`, filepath.Join(w.dir, "bin", "trivet"),
		"build", "--source", filepath.Join(w.dir, "source"), "--cache", filepath.Join(w.dir, "cache"), "--out", out,
		"--jobs", "3", "--locked", locked, "--sector-size", i.sectorSize(), i.Role)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TZ=Pacific/Kiritimati", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8"}
	cmd.Dir = w.dir
	if w.user != nil {
		uid, gid, err := w.ids()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "USER="+w.user.Username, "LOGNAME="+w.user.Username)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("build %s elsewhere: %v\n%s", i.Role, err, said.Bytes())
	}
	return out
}

// copyTree copies folders, files and links with their permissions.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		}
	})
}

// removeAll removes a tree in which folders may be closed to writing.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
