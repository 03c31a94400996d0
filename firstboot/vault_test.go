package firstboot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVault keeps a secret, and reads it on this machine alone and unaltered.
func TestVault(t *testing.T) {
	n := newNode(t)
	again := func() *vault { return &vault{root: n.root, run: n} }
	if _, err := again().get(t.Context(), "thing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was kept: %v", err)
	}
	long := strings.Repeat("canary ", 300_000) // longer than a credential of systemd's may be
	v := again()
	for name, text := range map[string]string{"thing": "canary one", "other": long} {
		if err := v.put(t.Context(), name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := again().get(t.Context(), name); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for path, text := range n.tree() {
		if strings.Contains(text, "canary") {
			t.Errorf("%s shows what the vault keeps", path)
		}
	}
	at := func(name string) string { return filepath.Join(n.root, vaultPath, name) }
	if err := os.Rename(at("thing"), at("other")); err != nil {
		t.Fatal(err)
	}
	if _, err := again().get(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "the file was altered") {
		t.Errorf("under another name: %v", err)
	}
	n.machine = "another"
	if _, err := again().get(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "comes from another machine") {
		t.Errorf("on another machine: %v", err)
	}
	if err := again().put(t.Context(), "more", nil); err == nil {
		t.Error("a key that cannot be unsealed was replaced")
	}
}
