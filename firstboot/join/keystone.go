package join

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// keystoneTimeout bounds one run of keystone-manage: 10 s on a slow core, some
// ten times that on an emulated one.
const keystoneTimeout = 15 * time.Minute

func keystone() Step {
	return Step{Name: "keystone", Done: keystoneDone, Do: keystoneStart}
}

// keystoneTasks are done once for the cloud, or again when their inputs change;
// the tables come first.
func keystoneTasks(env Env) ([]task, error) {
	admin, err := env.Secret("keystone/admin")
	if err != nil {
		return nil, err
	}
	key, err := env.Secret("keystone/credential")
	if err != nil {
		return nil, err
	}
	url, region := fmt.Sprintf("http://%s:5000/v3", env.Node.VIP.Addr()), env.Node.Settings.Region
	return []task{
		{
			name: "keystone/schema", inputs: digest(key, env.Image),
			about: "the identity service's tables are made or brought up to date",
			args:  []string{"db_sync"},
		},
		{
			name: "keystone/bootstrap", inputs: digest(key, admin.Reveal(), url, region),
			about: "the first account, project and entry of the catalogue are made",
			args: []string{
				"bootstrap", "--bootstrap-username", "admin", "--bootstrap-project-name", "admin", "--bootstrap-role-name", "admin",
				"--bootstrap-service-name", "keystone", "--bootstrap-region-id", region,
				"--bootstrap-admin-url", url, "--bootstrap-internal-url", url, "--bootstrap-public-url", url,
			},
			env: []string{"OS_BOOTSTRAP_PASSWORD=" + admin.Reveal()},
		},
	}, nil
}

// A task is one run of keystone-manage that the ledger notes.
type task struct {
	name, inputs, about string
	args, env           []string
}

func keystoneDone(ctx context.Context, env Env) (bool, error) {
	if active, err := env.Active(ctx); err != nil || !active {
		return false, err
	}
	tasks, err := keystoneTasks(env)
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		if done, err := ledgerDone(ctx, env.Database, t.name, t.inputs); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

func keystoneStart(ctx context.Context, env Env) error {
	password, err := env.Secret("keystone/db")
	if err != nil {
		return err
	}
	if err := ensureAccount(ctx, env.Database, "keystone", password); err != nil {
		return err
	}
	if err := writeKeys(env); err != nil {
		return err
	}
	tasks, err := keystoneTasks(env)
	if err != nil {
		return err
	}
	for i, t := range tasks {
		if err := runTask(ctx, env, t); err != nil {
			return err
		}
		// Its workers import for a long time, and need no more than the tables:
		// the other tasks run beside them.
		if i == 0 {
			if err := env.Start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func runTask(ctx context.Context, env Env, t task) error {
	done, err := ledgerDone(ctx, env.Database, t.name, t.inputs)
	if err != nil || done {
		return err
	}
	env.Report("%s", t.about)
	err = manage(ctx, env, t)
	if err != nil && t.args[0] == "db_sync" {
		err = syncAnew(ctx, env, t, err)
	}
	if err != nil {
		return err
	}
	return ledgerNote(ctx, env.Database, t.name, t.inputs)
}

func manage(ctx context.Context, env Env, t task) error {
	_, err := env.Run(ctx, host.Command{
		Args: append([]string{"/usr/bin/keystone-manage"}, t.args...), Env: append([]string{"HOME=/var/lib/keystone"}, t.env...),
		User: "keystone", Timeout: keystoneTimeout,
	})
	if err != nil {
		return fmt.Errorf("keystone-manage %s: %w", t.args[0], err)
	}
	return nil
}

// syncAnew makes the tables once more after a failure. MariaDB commits each
// change of a table by itself: a power cut in the middle leaves a schema that
// the migration finds in its way at every later try. As long as no user is in
// it, nothing is lost with it.
func syncAnew(ctx context.Context, env Env, t task, was error) error {
	blank, err := tableBlank(ctx, env.Database, "keystone.user")
	if err != nil || !blank {
		return errors.Join(was, err)
	}
	env.Report("the identity service's tables were half made; they are made anew")
	if _, err := env.Database.ExecContext(ctx, "DROP DATABASE keystone"); err != nil {
		return errors.Join(was, fmt.Errorf("drop the half-made tables: %w", err))
	}
	password, err := env.Secret("keystone/db")
	if err != nil {
		return err
	}
	if err := ensureAccount(ctx, env.Database, "keystone", password); err != nil {
		return err
	}
	return manage(ctx, env, t)
}

// keyFolders are keystone's repositories of keys, by the secret that seeds them.
func keyFolders() []struct{ secret, folder string } {
	return []struct{ secret, folder string }{
		{"keystone/fernet", "/etc/keystone/fernet-keys"},
		{"keystone/credential", "/etc/keystone/credential-keys"},
	}
}

// keyEpoch counts the rotations of the keys.
const keyEpoch = 1

// writeKeys writes the keys that tokens and stored credentials are encrypted
// with. They come out of a seed, so that all controllers have the same ones and
// nobody carries them around. File 0 is the staged key, which the next epoch
// makes primary; the highest number is the primary one.
func writeKeys(env Env) error {
	for _, k := range keyFolders() {
		seed, err := env.Secret(k.secret)
		if err != nil {
			return err
		}
		if err := env.makeFolder(k.folder, 0o700, "keystone", "keystone"); err != nil {
			return err
		}
		for file, epoch := range map[int]int{0: keyEpoch + 1, keyEpoch: keyEpoch} {
			key, err := fernetKey(seed, k.secret, epoch)
			if err != nil {
				return err
			}
			if err := env.WriteFile(k.folder+"/"+strconv.Itoa(file), []byte(key), 0o600, "keystone", "keystone"); err != nil {
				return err
			}
		}
	}
	return nil
}

// fernetKey derives one key: 32 bytes in URL-safe base64 (the Fernet
// specification), by HKDF-SHA256 (RFC 5869).
func fernetKey(seed node.Secret, purpose string, epoch int) (string, error) {
	info := fmt.Sprintf("v1|%s|%d", purpose, epoch)
	key, err := hkdf.Key(sha256.New, []byte(seed.Reveal()), nil, info, 32)
	if err != nil {
		return "", fmt.Errorf("derive a key of %s: %w", purpose, err)
	}
	return base64.URLEncoding.EncodeToString(key), nil
}
