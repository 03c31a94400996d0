package join

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// keystoneTimeout bounds one run of keystone-manage: 10 s on a slow core, some
// ten times that on an emulated one.
const keystoneTimeout = 15 * time.Minute

// keystoneLock is held by the one controller that works on keystone's tables.
const keystoneLock = "keystone"

func keystone() Step {
	return Step{Name: "keystone", Done: keystoneDone, Do: keystoneStart}
}

// A task is done once for the cloud, or again when its inputs change.
type task struct {
	entry
	about string
	do    func(context.Context, Env) error
}

// keystoneTasks come in this order: the account, its tables, what is in them.
//
// Each image makes the tables once: controllers of two images, as during an
// update, would else take the schema from each other at every boot, and the
// older one's migrations do not know the newer one's tables.
func keystoneTasks(env Env) ([]task, error) {
	var secrets [3]node.Secret
	for i, name := range []string{"keystone/db", "keystone/admin", "keystone/credential"} {
		var err error
		if secrets[i], err = env.Secret(name); err != nil {
			return nil, err
		}
	}
	db, admin, key := secrets[0], secrets[1], secrets[2]
	url, region := fmt.Sprintf("http://%s:5000/v3", env.Node.VIP.Addr()), env.Node.Settings.Region
	image := digest(key, env.Image)
	generation := env.Node.Generation
	return []task{
		{
			entry{"keystone/account", digest(key, db.Reveal()), generation},
			"the identity service's database and account are made",
			func(ctx context.Context, env Env) error { return ensureAccount(ctx, env.Database, "keystone", db) },
		},
		{
			entry{"keystone/schema@" + image[:16], image, generation},
			"the identity service's tables are made or brought up to date",
			keystoneSync,
		},
		{
			entry{"keystone/bootstrap", digest(key, admin.Reveal(), url, region), generation},
			"the first account, project and entry of the catalogue are made",
			func(ctx context.Context, env Env) error {
				return manage(ctx, env, []string{
					"bootstrap", "--bootstrap-username", "admin", "--bootstrap-project-name", "admin", "--bootstrap-role-name", "admin",
					"--bootstrap-service-name", "keystone", "--bootstrap-region-id", region,
					"--bootstrap-admin-url", url, "--bootstrap-internal-url", url, "--bootstrap-public-url", url,
				}, "OS_BOOTSTRAP_PASSWORD="+admin.Reveal())
			},
		},
	}, nil
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
		if done, err := ledgerDone(ctx, env.Database, t.entry); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

func keystoneStart(ctx context.Context, env Env) error {
	if err := writeKeys(env); err != nil {
		return err
	}
	tasks, err := keystoneTasks(env)
	if err != nil {
		return err
	}
	last := len(tasks) - 1
	for _, t := range tasks[:last] {
		if err := runTask(ctx, env, t); err != nil {
			return err
		}
	}
	// Its workers import for a long time, and need no more than the tables: the
	// last task runs beside them.
	if err := env.Start(ctx); err != nil {
		return err
	}
	return runTask(ctx, env, tasks[last])
}

// runTask does what the ledger does not have yet, on one controller: the others
// wait, and then find it in the ledger. It stops when the lock is lost.
func runTask(ctx context.Context, env Env, t task) error {
	done, err := ledgerDone(ctx, env.Database, t.entry)
	if err != nil || done {
		return err
	}
	if env.Quorum != nil {
		held, unlock, err := env.Quorum.Lock(ctx, keystoneLock)
		if err != nil {
			return fmt.Errorf("wait for the turn to work on the identity service's tables: %w", err)
		}
		defer unlock()
		ctx = held
		if done, err := ledgerDone(ctx, env.Database, t.entry); err != nil || done {
			return err
		}
	}
	env.Report("%s", t.about)
	if err := t.do(ctx, env); err != nil {
		return err
	}
	return ledgerNote(ctx, env.Database, t.entry)
}

// manage runs keystone-manage.
func manage(ctx context.Context, env Env, args []string, environment ...string) error {
	_, err := env.Run(ctx, host.Command{
		Args: append([]string{"/usr/bin/keystone-manage"}, args...), Env: append([]string{"HOME=/var/lib/keystone"}, environment...),
		User: "keystone", Timeout: keystoneTimeout,
	})
	if err != nil {
		return fmt.Errorf("keystone-manage %s: %w", args[0], err)
	}
	return nil
}

// keystoneSync makes the tables, once more after a failure. MariaDB commits each
// change of a table by itself: a power cut in the middle leaves a schema that
// the migration finds in its way at every later try. As long as no user is in
// it, nothing is lost with it.
func keystoneSync(ctx context.Context, env Env) error {
	was := manage(ctx, env, []string{"db_sync"})
	if was == nil || ctx.Err() != nil {
		return was
	}
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
	return manage(ctx, env, []string{"db_sync"})
}

// keyFolders are keystone's repositories of keys, by the secret that seeds them;
// the bundle has their files below the same name.
func keyFolders() []struct{ secret, folder string } {
	return []struct{ secret, folder string }{
		{"keystone/fernet", "/etc/keystone/fernet-keys"},
		{"keystone/credential", "/etc/keystone/credential-keys"},
	}
}

// keyEpoch counts the rotations of the keys that a lab makes for itself.
const keyEpoch = 1

// writeKeys writes the keys that tokens and stored credentials are encrypted
// with: the bundle's, which the operator rotates, or in a lab those that come out
// of the seed. Either way all controllers have the same ones and nobody carries
// them around. File 0 is the staged key, which the next rotation makes primary;
// the highest number is the primary one.
func writeKeys(env Env) error {
	for _, k := range keyFolders() {
		keys, err := repository(env, k.secret)
		if err != nil {
			return err
		}
		if err := env.makeFolder(k.folder, 0o700, "keystone", "keystone"); err != nil {
			return err
		}
		if err := dropKeys(env, k.folder, keys); err != nil {
			return err
		}
		for file, key := range keys {
			if err := env.WriteFile(k.folder+"/"+file, key, 0o600, "keystone", "keystone"); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropKeys removes the keys that a repository has no more: keystone would go on
// taking what was encrypted with them.
func dropKeys(env Env, folder string, keys map[string][]byte) error {
	entries, err := os.ReadDir(env.Path(folder))
	if err != nil {
		return fmt.Errorf("look at the keys in %s: %w", folder, err)
	}
	for _, e := range entries {
		if _, ok := keys[e.Name()]; ok {
			continue
		}
		if err := os.RemoveAll(env.Path(folder + "/" + e.Name())); err != nil {
			return fmt.Errorf("drop a key of %s: %w", folder, err)
		}
	}
	return nil
}

// repository returns the files of a repository of keys.
func repository(env Env, name string) (map[string][]byte, error) {
	keys := map[string][]byte{}
	for path, data := range env.Files {
		file, ok := strings.CutPrefix(path, name+"/")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(file, 10, 16); err != nil || strconv.FormatUint(n, 10) != file {
			return nil, fmt.Errorf("write the keys of %s: the bundle's %s has no number for a name", name, path)
		}
		keys[file] = data
	}
	if len(keys) > 0 {
		return keys, nil
	}
	seed, err := env.Secret(name)
	if err != nil {
		return nil, err
	}
	for file, epoch := range map[int]int{0: keyEpoch + 1, keyEpoch: keyEpoch} {
		key, err := fernetKey(seed, name, epoch)
		if err != nil {
			return nil, err
		}
		keys[strconv.Itoa(file)] = []byte(key)
	}
	return keys, nil
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
