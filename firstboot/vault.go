package firstboot

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trivet/firstboot/host"
)

// A vault keeps what is secret on the node's disk: the description, and what a
// lab made for itself. Each thing is a file, encrypted with one key, and
// systemd-creds(1) seals that key to this machine: by its TPM where there is
// one, else by a key of this /var that only root reads. A credential of
// systemd's own may not be longer than 1 MiB; what is kept here may.
type vault struct {
	root string
	run  host.Runner
	key  []byte // nil until it is needed
}

const (
	vaultPath = statePath + "/credstore.encrypted"
	vaultKey  = "trivet.store" // the file and the credential's name
	keySize   = 32             // bytes: AES-256
)

// get returns what was kept under name; fs.ErrNotExist if nothing was.
func (v *vault) get(ctx context.Context, name string) ([]byte, error) {
	sealed, err := os.ReadFile(filepath.Join(v.root, vaultPath, name))
	if err != nil {
		return nil, fmt.Errorf("read the stored %s: %w", name, err)
	}
	box, err := v.open(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("read the stored %s: %w", name, err)
	}
	data, err := box.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("read the stored %s: %w; the file was altered, or comes from another machine", name, err)
	}
	return data, nil
}

// put keeps data under name, in one step.
func (v *vault) put(ctx context.Context, name string, data []byte) error {
	box, err := v.open(ctx, true)
	if err != nil {
		return fmt.Errorf("store the %s: %w", name, err)
	}
	if err := host.WriteFile(filepath.Join(v.root, vaultPath, name), box.Seal(nil, nil, data, []byte(name)), 0o600, -1, -1); err != nil {
		return fmt.Errorf("store the %s: %w", name, err)
	}
	return nil
}

// open unseals the key, or makes one where there is none and create says so.
func (v *vault) open(ctx context.Context, create bool) (cipher.AEAD, error) {
	if v.key == nil {
		sealed, err := os.ReadFile(filepath.Join(v.root, vaultPath, vaultKey))
		switch {
		case err == nil:
			v.key, err = v.unseal(ctx, sealed)
		case errors.Is(err, fs.ErrNotExist) && create:
			v.key, err = v.newKey(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(v.key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (v *vault) unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	key, err := v.run.Run(ctx, host.Command{Args: []string{"systemd-creds", "decrypt", "--name=" + vaultKey, "-", "-"}, Stdin: sealed})
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), keySize)
	}
	if err != nil {
		return nil, fmt.Errorf("unseal the key of this node's store: %w; if this disk comes from another machine, or its TPM was cleared, wipe /var and describe the node anew", err)
	}
	return key, nil
}

func (v *vault) newKey(ctx context.Context) ([]byte, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	sealed, err := v.run.Run(ctx, host.Command{Args: []string{"systemd-creds", "encrypt", "--name=" + vaultKey, "-", "-"}, Stdin: key})
	if err != nil {
		return nil, fmt.Errorf("seal the key of this node's store: %w", err)
	}
	// What systemd sealed with must last as long as what is sealed.
	if err := os.MkdirAll(filepath.Join(v.root, vaultPath), 0o700); err != nil {
		return nil, fmt.Errorf("keep the key of this node's store: %w", err)
	}
	if err := host.SyncFS(filepath.Join(v.root, vaultPath)); err != nil {
		return nil, err
	}
	if err := host.WriteFile(filepath.Join(v.root, vaultPath, vaultKey), sealed, 0o600, -1, -1); err != nil {
		return nil, fmt.Errorf("keep the key of this node's store: %w", err)
	}
	return key, nil
}
