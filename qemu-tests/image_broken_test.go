package qemutests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const roleDisk = "disk: {esp: 512MiB, root: 1GiB, verity: 16MiB, root_reserve: 256MiB}\n"

// TestImageOfABrokenSource builds from a copy of the repository in which one
// thing is wrong. The build must say what and where, with the file and, where
// it has one, line and column, and make nothing.
func TestImageOfABrokenSource(t *testing.T) {
	lock := filepath.Join(images(t), failingRole+".lock")
	for name, tc := range map[string]struct {
		file, text string   // below the source; a text that begins with + is added
		resolve    bool     // the packages are chosen anew, from the archive
		say        []string // regular expressions
	}{
		"role with a syntax error": {
			file: "roles/storage.yaml", text: "about: x\nservices: [base\nstart: []\n",
			say: []string{`roles/storage\.yaml:[23]:\d+: `},
		},
		"role with an unknown key": {
			file: "roles/storage.yaml", text: "about: x\nservises: [base]\n",
			say: []string{`roles/storage\.yaml:2:1: unknown key "servises"; did you mean "services"\?`},
		},
		"role with an unknown service": {
			file: "roles/storage.yaml", text: "about: x\nservices:\n  - base\n  - rsinc\n" + roleDisk,
			say: []string{`roles/storage\.yaml:4:5: .*"rsinc".*rsync`},
		},
		"service with an unknown key": {
			file: "roles/services/rsync.yaml", text: "+\nunit: [x.service]\n",
			say: []string{`roles/services/rsync\.yaml:\d+:1: unknown key "unit"; did you mean "units"\?`},
		},
		"package that does not exist": {
			file: "roles/services/rsync.yaml", text: "about: x\npackages: [rsync, no-such-package-as-this]\n", resolve: true,
			say: []string{`"no-such-package-as-this"`, `roles/services/rsync\.yaml`},
		},
		"two overlays with one path": {
			file: "overlays/rsync/etc/locale.conf", text: "LANG=C\n",
			say: []string{`/etc/locale\.conf is in both overlays/common and overlays/rsync`},
		},
		"overlay with a path of the builder": {
			file: "overlays/rsync/usr/bin/trivet-agent", text: "#!/bin/sh\n",
			say: []string{`/usr/bin/trivet-agent is made by the builder and is also in overlays/rsync`},
		},
		"template outside of /etc": {
			file: "overlays/rsync/usr/share/x.tmpl", text: "x\n",
			say: []string{`overlay rsync: /usr/share/x\.tmpl is a template outside of /etc`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := &disturbance{program: trivet(t), source: filepath.Join(dir, "source"), lock: lock}
			cache := filepath.Join(dir, "cache")
			if tc.resolve {
				reachableMirror(t)
				d.lock, cache = "", userCache(t) // whose indices save a download
			}
			d.copySource(t)
			spoil(t, filepath.Join(d.source, tc.file), tc.text)
			e := d.build(t, cache, filepath.Join(dir, "out"))
			e.mustFail(t, 1, append(tc.say, "build "+failingRole+": ")...)
			d.leftNothing(t, dir)
		})
	}
}

// copySource copies roles and overlays of the repository.
func (d *disturbance) copySource(t *testing.T) {
	t.Helper()
	for _, from := range []string{"roles", "overlays"} {
		if err := copyTree(filepath.Join(repository, from), filepath.Join(d.source, from)); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil writes text to a file of a copied source, or adds it after a +.
func spoil(t *testing.T, path, text string) {
	t.Helper()
	if more, add := strings.CutPrefix(text, "+"); add {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = string(old) + more
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
