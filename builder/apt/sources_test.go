package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostMirrors(t *testing.T) {
	ours := Mirrors{"http://a.example/debian", "http://a.example/debian-security"}
	for name, tc := range map[string]struct {
		files map[string]string // below etc/apt
		want  Mirrors
	}{
		"one-line": {map[string]string{
			"sources.list": "# deb http://no.example/debian x main\n deb\t[arch=amd64 signed-by=/k/debian-archive-keyring.gpg]   http://a.example/debian bookworm main # x\ndeb-src http://s.example/debian bookworm main\ndeb http://a.example/debian-security bookworm-security main\n",
		}, ours},
		"deb822": {map[string]string{
			"sources.list.d/debian.sources": "# x\nTypes: deb deb-src\nURIs: http://a.example/debian/\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\nTypes: deb\nURIs:\n http://a.example/debian-security/\nSuites: trixie-security\nComponents: main contrib\n",
		}, ours},
		"comments between the lines of a stanza": {map[string]string{
			"sources.list.d/debian.sources": "Types: deb\n# a snapshot\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\n",
		}, ours},
		"switched off": {map[string]string{
			"sources.list.d/a.sources": "Enabled: no\nTypes: deb\nURIs: http://no.example/debian\nSuites: x\nComponents: main\n\nTypes: deb-src\nURIs: http://no.example/debian\nSuites: x\nComponents: main\n\nTypes: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\n",
		}, ours},
		"no security": {map[string]string{"sources.list": "deb http://a.example/mirror/debian x main"}, Mirrors{"http://a.example/mirror/debian", "http://a.example/mirror/debian-security"}},
		"security under a name of its own": {
			map[string]string{"sources.list": "deb http://a.example/debian x main\ndeb http://s.example/ x-security main"},
			Mirrors{"http://a.example/debian", "http://a.example/debian-security"},
		},
		"security by its keyring": {
			map[string]string{"sources.list": "deb http://a.example/debian x main\ndeb [signed-by=/k/debian-archive-keyring.gpg] http://s.example/ x-security main"},
			Mirrors{"http://a.example/debian", "http://s.example"},
		},
		"other vendors first": {map[string]string{
			"sources.list.d/1.list":         "deb [signed-by=/k/vendor.gpg] https://v.example/debian bookworm main\ndeb https://w.example/linux/debian bookworm stable\ndeb http://u.example/apt x main\n",
			"sources.list.d/2.sources":      "Types: deb\nURIs: https://x.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n",
			"sources.list.d/debian.sources": "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		}, ours},
		"a mirror of another name, by its keyring": {map[string]string{
			"sources.list": "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/mirrors/deb x main",
		}, Mirrors{"http://a.example/mirrors/deb", "http://a.example/mirrors/deb/debian-security"}},
		"the first of equals": {map[string]string{"sources.list": "deb http://a.example/debian x main\ndeb http://b.example/debian x main"}, ours},
		"other schemes":       {map[string]string{"sources.list": "deb cdrom:[Debian]/debian x main\ndeb file:/srv/debian x main\ndeb http://a.example/debian x main"}, ours},
		"rubbish beside it":   {map[string]string{"sources.list": "deb http://a.example/debian x main\ndeb\ndeb [x\nnonsense", "sources.list.d/x.sources": ":\x00\nTypes"}, ours},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			for file, text := range tc.files {
				path := filepath.Join(etc, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := HostMirrors(etc); err != nil || got != tc.want {
				t.Errorf("HostMirrors = %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestHostMirrorsFindsNone(t *testing.T) {
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "sources.list"), []byte("deb http://a.example/ubuntu noble main\ndeb https://w.example/linux/debian bookworm stable\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{etc, t.TempDir()} {
		if m, err := HostMirrors(dir); err == nil || !strings.Contains(err.Error(), "--mirror") {
			t.Errorf("HostMirrors = %v, %v; want an error that names --mirror", m, err)
		}
	}
	if err := os.WriteFile(filepath.Join(etc, "sources.list"), make([]byte, maxSources+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := HostMirrors(etc); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large file: error = %v", err)
	}
}
