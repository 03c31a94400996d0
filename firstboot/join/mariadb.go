package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trivet/firstboot/host"
)

// Paths of the database.
const (
	dataDir    = "/var/lib/mysql"
	stagingDir = "/var/lib/mysql.new"
	// newCluster is an environment file of Debian's mariadb.service, which
	// removes it when the server runs: the word counts for one start.
	newCluster = "/run/mysqld/wsrep-new-cluster"
)

// galeraSynced bounds the wait for a member that runs to become part of the
// cluster. Alone it takes a second; on an emulated processor some more.
const galeraSynced = 3 * time.Minute

func mariadb() Step {
	return Step{Name: "mariadb", Done: galeraHealthy, Do: galeraStart}
}

// galeraHealthy answers whether the member is in a primary component and has
// all of its data.
func galeraHealthy(ctx context.Context, env Env) (bool, error) {
	active, err := env.Active(ctx)
	if err != nil || !active {
		return false, err
	}
	return GaleraState(ctx, env.Database) == nil, nil
}

func galeraStart(ctx context.Context, env Env) error {
	state, err := readGalera(env)
	if err != nil {
		return err
	}
	switch galeraDecide(state) {
	case galeraFound:
		env.Report("there is no database here; a new one is made, and a cluster begins with it")
		if err := installDatabase(ctx, env); err != nil {
			return err
		}
	case galeraResume:
		env.Report("the cluster %s begins again with the data here, which no other controller has", state.uuid)
		if err := permitBootstrap(env, state); err != nil {
			return err
		}
	}
	// What /usr/bin/galera_new_cluster does. The unit finds the recovered
	// position by itself; without it the cluster would get a new UUID.
	if err := env.WriteFile(newCluster, []byte("_WSREP_NEW_CLUSTER='--wsrep-new-cluster'\n"), 0o644, "", ""); err != nil {
		return err
	}
	defer os.Remove(env.Path(newCluster))
	if err := startDatabase(ctx, env); err != nil {
		return err
	}
	return until(ctx, galeraSynced, 300*time.Millisecond, func(ctx context.Context) error {
		return GaleraState(ctx, env.Database)
	})
}

// startDatabase starts the unit. Transactions that were prepared and neither
// committed nor rolled back stop the recovery of the position; they were never
// acknowledged, so they are rolled back, once.
func startDatabase(ctx context.Context, env Env) error {
	err := env.Start(ctx)
	if err == nil || !strings.Contains(err.Error(), "prepared transaction") {
		return err
	}
	env.Report("the database holds prepared transactions that nobody finished; they are rolled back")
	if _, rerr := env.Run(ctx, host.Command{
		Args: []string{"/usr/sbin/mariadbd", "--user=mysql", "--tc-heuristic-recover=ROLLBACK", "--wsrep-recover"}, Timeout: 10 * time.Minute,
	}); rerr != nil {
		return fmt.Errorf("roll back prepared transactions: %w (after %w)", rerr, err)
	}
	return env.Start(ctx)
}

// readGalera looks at the data folder.
func readGalera(env Env) (galeraState, error) {
	entries, err := os.ReadDir(env.Path(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return galeraState{}, fmt.Errorf("look at %s: %w", dataDir, err)
	}
	var strange []string
	database := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "ibdata1" || name == "mysql":
			database = true
		case name == "lost+found" || strings.HasPrefix(name, "debian-") || strings.HasPrefix(name, "."):
			// a file system's own folder, a note of Debian's package, or ours
		default:
			strange = append(strange, name)
		}
	}
	if !database && len(strange) > 0 {
		return galeraState{}, fmt.Errorf("%s holds %s but no database; move that away, and a new database is made", dataDir, strings.Join(strange, ", "))
	}
	if !database {
		return galeraState{fresh: true}, nil
	}
	saved, err := os.ReadFile(env.Path(dataDir + "/grastate.dat"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return galeraState{}, fmt.Errorf("read grastate.dat: %w", err)
	}
	state, err := parseGrastate(saved)
	if view, serr := os.Stat(env.Path(dataDir + "/gvwstate.dat")); serr == nil && view.Size() == 0 {
		state.emptyGVW = true
	}
	return state, err
}

// permitBootstrap marks the saved state as the one to begin with, and drops the
// saved view, whose other members will not come.
func permitBootstrap(env Env, state galeraState) error {
	if err := os.Remove(env.Path(dataDir + "/gvwstate.dat")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove gvwstate.dat: %w", err)
	}
	if state.safe {
		return nil
	}
	return env.WriteFile(dataDir+"/grastate.dat", safeGrastate(state), 0o660, "mysql", "mysql")
}

// installDatabase makes an empty database whose root is root of this machine,
// beside its place, and moves it there when all of it is on the disk: after a
// power cut there is none or a whole one.
func installDatabase(ctx context.Context, env Env) error {
	if err := os.RemoveAll(env.Path(stagingDir)); err != nil {
		return fmt.Errorf("remove what an earlier start left: %w", err)
	}
	uid, gid, err := host.IDs("mysql", "mysql")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(env.Path(stagingDir), 0o700); err != nil {
		return err
	}
	if err := os.Chown(env.Path(stagingDir), uid, gid); err != nil {
		return err
	}
	_, err = env.Run(ctx, host.Command{
		Args: []string{
			"/usr/bin/mariadb-install-db", "--user=mysql", "--datadir=" + env.Path(stagingDir),
			"--auth-root-authentication-method=socket", "--skip-test-db",
			"--skip-log-bin", "--wsrep-on=OFF",
		},
		Timeout: 15 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	if err := host.SyncFS(env.Path(stagingDir)); err != nil {
		return err
	}
	if err := os.RemoveAll(env.Path(dataDir)); err != nil { // holds no database: readGalera looked
		return err
	}
	if err := os.Rename(env.Path(stagingDir), env.Path(dataDir)); err != nil {
		return fmt.Errorf("put the new database in its place: %w", err)
	}
	return host.SyncDir(filepath.Dir(env.Path(dataDir)))
}
