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
	if up, err := galeraSettle(ctx, env); err != nil || up {
		return err
	}
	state, err := readGalera(ctx, env)
	if err != nil {
		return err
	}
	plan := galeraDecide(state)
	if plan.found {
		env.Report("there is no database here; a new one is made, and a cluster begins with it")
		err = installDatabase(ctx, env)
	} else {
		env.Report("the cluster %s begins again with the data here, which no other controller has", plan.history)
		err = permitBootstrap(env, plan.history)
	}
	if err != nil {
		return err
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
	return galeraWait(ctx, env)
}

// galeraSettle deals with a server that already runs, as after the agent's own
// restart: it is given time to become whole, and is else stopped. It answers
// whether the member is up.
func galeraSettle(ctx context.Context, env Env) (bool, error) {
	state, err := host.UnitState(ctx, env.Host, env.Service.Units[0])
	if err != nil || state == "inactive" || state == "failed" {
		return false, err
	}
	env.Report("the database is %s; waiting for it", state)
	if state == "activating" {
		err = env.Start(ctx)
	}
	if err == nil {
		err = galeraWait(ctx, env)
	}
	if err == nil || ctx.Err() != nil {
		return err == nil, ctx.Err()
	}
	env.Report("%v; the database is stopped and started again", err)
	return false, host.StopUnit(ctx, env.Host, env.Service.Units[0])
}

func galeraWait(ctx context.Context, env Env) error {
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
func readGalera(ctx context.Context, env Env) (galeraState, error) {
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
	if err != nil {
		return state, err
	}
	if view, err := os.Stat(env.Path(dataDir + "/gvwstate.dat")); err == nil && view.Size() == 0 {
		state.emptyGVW = true
	}
	if state.saved.uuid == noUUID {
		state.recovered, err = recoverPosition(ctx, env)
	}
	return state, err
}

// recoverPosition asks InnoDB for the position of its last commit, by the
// program that Debian's unit asks with too.
func recoverPosition(ctx context.Context, env Env) (galeraPosition, error) {
	out, err := env.Run(ctx, host.Command{Args: []string{"/usr/bin/galera_recovery"}, Timeout: 15 * time.Minute})
	if err != nil {
		return galeraPosition{noUUID, -1}, fmt.Errorf("recover the database's position: %w", err)
	}
	text, _ := strings.CutPrefix(strings.TrimSpace(string(out)), "--wsrep_start_position=")
	return parsePosition(text)
}

// permitBootstrap marks the state here as the one to begin with, and drops the
// saved view, whose other members will not come. Data without a history begins
// one.
func permitBootstrap(env Env, history string) error {
	gone := []string{"/gvwstate.dat"}
	if history == noUUID {
		gone = append(gone, "/grastate.dat")
	}
	for _, name := range gone {
		if err := os.Remove(env.Path(dataDir + name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s%s: %w", dataDir, name, err)
		}
	}
	if history == noUUID {
		return nil
	}
	return env.WriteFile(dataDir+"/grastate.dat", safeGrastate(history), 0o660, "mysql", "mysql")
}

// installDatabase makes an empty database whose root is root of this machine,
// beside its place, and moves it there when all of it is on the disk: after a
// power cut there is none or a whole one.
func installDatabase(ctx context.Context, env Env) error {
	if err := os.RemoveAll(env.Path(stagingDir)); err != nil {
		return fmt.Errorf("remove what an earlier start left: %w", err)
	}
	if err := env.makeFolder(stagingDir, 0o700, "mysql", "mysql"); err != nil {
		return err
	}
	_, err := env.Run(ctx, host.Command{
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
