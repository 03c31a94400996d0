package qemutests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/builder/apt"
)

// TestImageUKIIsReadByUkify lets systemd's own ukify read the unified kernel
// image: Debian 13's, wherever the test runs.
func TestImageUKIIsReadByUkify(t *testing.T) {
	images(t)
	tool := newUkify(t)
	eachImage(t, func(t *testing.T, i image) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := tool.inspect(ctx, i.file(".efi"))
		if err != nil {
			t.Fatal(err)
		}
		var sections map[string]struct {
			Size   int64
			SHA256 string
			Text   string
		}
		if err := json.Unmarshal(out, &sections); err != nil {
			t.Fatalf("read what ukify says: %v\n%s", err, out)
		}
		for name, ending := range map[string]string{".linux": ".vmlinuz", ".initrd": ".initrd"} {
			if got, want := sections[name].SHA256, fileDigest(t, i.file(ending)); got != want {
				t.Errorf("ukify sees a section %s with SHA-256 %q, the artifact %s%s has %s", name, got, i.Base, ending, want)
			}
		}
		for name, want := range map[string]string{".cmdline": i.Cmdline, ".uname": i.Kernel} {
			if got := strings.TrimRight(sections[name].Text, "\x00\n"); got != want {
				t.Errorf("ukify reads %q in section %s, the manifest says %q", got, name, want)
			}
		}
		if got, want := sections[".osrel"].Text, `IMAGE_ID="trivet-`+i.Role+`"`; !strings.Contains(got, want) {
			t.Errorf("ukify reads this os-release, without %s:\n%s", want, got)
		}
	})
}

// A ukify is how to run the program: first words and environment.
type ukify struct{ args, env []string }

func (u ukify) inspect(ctx context.Context, path string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, u.args[0], append(u.args[1:], "inspect", path, "--json=short")...)
	cmd.Env = append(os.Environ(), u.env...)
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, says.Bytes())
	}
	return out, nil
}

// newUkify finds the host's ukify or, since Debian 12 has no such package,
// unpacks Debian 13's package systemd-ukify with all that it depends on, from
// the mirror of the host's apt. Its Python runs where it lies, by its own
// loader: nothing is configured, and nobody needs to be root. Without a mirror
// the test skips.
func newUkify(t *testing.T) ukify {
	t.Helper()
	if path, err := exec.LookPath("ukify"); err == nil {
		return ukify{args: []string{path}}
	}
	need(t, "mmdebstrap")
	mirror := reachableMirror(t)
	root := filepath.Join(t.TempDir(), "root")
	oracle(t, "mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", "--include=systemd-ukify",
		`--aptopt=APT::Install-Recommends "false"`, "trixie", root,
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "+mirror+" trixie main")
	one := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("there is no %s among the files of systemd-ukify in %s: %v", pattern, root, err)
		}
		return found[0]
	}
	return ukify{
		args: []string{one("usr/lib*/ld-linux-*.so.*"), "--library-path", one("usr/lib/*-linux-gnu"), one("usr/bin/python3.[0-9]*"), one("usr/bin/ukify")},
		env:  []string{"PYTHONHOME=" + filepath.Join(root, "usr"), "PYTHONDONTWRITEBYTECODE=1"},
	}
}

// reachableMirror is the Debian mirror of the host's apt; if it does not answer
// the test skips and says why.
func reachableMirror(t *testing.T) string {
	t.Helper()
	m, err := apt.HostMirrors("/etc/apt")
	if err != nil {
		t.Skipf("this test needs a Debian mirror: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimRight(m.Archive, "/")+"/dists/trixie/InRelease", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Skipf("this test needs a Debian mirror, and none can be reached: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Skipf("this test needs a Debian mirror, and it answers %s", resp.Status)
	}
	return m.Archive
}
