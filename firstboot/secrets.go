package firstboot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"trivet/firstboot/node"
)

// secretsName is what the vault calls the secrets that a lab made for itself.
const secretsName = "secrets"

// fillSecrets gives a lab the secrets that its description leaves out. They are
// made once, and kept for root alone. A cloud of several controllers has all
// of them from its description: node.Fit saw to that.
func (a *agent) fillSecrets(ctx context.Context, c *node.Config) error {
	if !c.Lab() {
		return nil
	}
	kept, err := readSecrets(ctx, a.vault)
	if err != nil {
		return err
	}
	made := 0
	for _, name := range declaredSecrets(a.role) {
		if _, given := c.Secrets[name]; given {
			continue
		}
		if _, has := kept[name]; !has {
			kept[name] = newSecret()
			made++
		}
		c.Secrets[name] = node.NewSecret(kept[name])
		a.Report.Hide(kept[name])
	}
	if made == 0 {
		return nil
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("keep the secrets of this lab: %w", err)
	}
	return a.vault.put(ctx, secretsName, data)
}

// keptSecrets adds the secrets that were made earlier, and makes none.
func (a *agent) keptSecrets(ctx context.Context, c *node.Config) error {
	kept, err := readSecrets(ctx, a.vault)
	if err != nil {
		return err
	}
	for name, value := range kept {
		if _, given := c.Secrets[name]; !given {
			c.Secrets[name] = node.NewSecret(value)
		}
	}
	return nil
}

func readSecrets(ctx context.Context, v *vault) (map[string]string, error) {
	kept := map[string]string{}
	data, err := v.get(ctx, secretsName)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("read the secrets of this lab: %w", err)
	}
	return kept, nil
}

// newSecret returns 128 random bits in hex.
func newSecret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}
