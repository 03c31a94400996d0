package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trivet/firstboot/host"
)

// Paths of the database.
const (
	mariadbUnit = "mariadb.service"

	dataDir    = "/var/lib/mysql"
	stagingDir = "/var/lib/mysql.new"
	// newCluster is an environment file of Debian's mariadb.service, which
	// removes it when the server runs: the word counts for one start.
	newCluster = "/run/mysqld/wsrep-new-cluster"
	// galeraTLS is in memory: keys never reach a disk in the clear. The template
	// of mariadb.cnf names it too.
	galeraTLS = "/run/trivet-mariadb"
)

// galeraSynced bounds the wait for a member that runs to become part of the
// cluster. Alone it takes a second; on an emulated processor some more.
const galeraSynced = 3 * time.Minute

func mariadb() Step {
	return Step{Name: "mariadb", Judges: true, Done: galeraDone, Do: galeraStart, Tell: galeraTell}
}

// galeraAnswer bounds one question to a server that may hang.
const galeraAnswer = 3 * time.Second

// galeraDone answers whether the member is in a primary component and has
// all of its data.
func galeraDone(ctx context.Context, env Env) (bool, error) {
	active, err := env.Active(ctx)
	if err != nil || !active {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, galeraAnswer)
	defer cancel()
	return GaleraState(ctx, env.Database) == nil, nil
}

func galeraStart(ctx context.Context, env Env) error {
	if err := placeCertificates(env); err != nil {
		return err
	}
	if env.Quorum != nil {
		return newGaleraMember(env).bringUp(ctx)
	}
	return galeraAlone(ctx, env)
}

// placeCertificates gives the server what it needs for TLS, if the bundle has it.
func placeCertificates(env Env) error {
	for _, name := range []string{"ca.crt", "node.crt", "node.key"} {
		data, ok := env.Files["pki/galera/"+name]
		if !ok {
			continue
		}
		if err := env.WriteFile(galeraTLS+"/"+name, data, 0o400, "mysql", "mysql"); err != nil {
			return err
		}
	}
	return nil
}

// galeraAlone brings up the only member of a cloud with one controller.
func galeraAlone(ctx context.Context, env Env) error {
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
		err = installDatabase(ctx, env, nil)
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
	if err == nil || !unfinished(err) {
		return err
	}
	if rerr := rollBack(ctx, env); rerr != nil {
		return fmt.Errorf("%w (after %w)", rerr, err)
	}
	return env.Start(ctx)
}

func unfinished(err error) bool { return strings.Contains(err.Error(), "prepared transaction") }

func rollBack(ctx context.Context, env Env) error {
	env.Report("the database holds prepared transactions that nobody finished; they are rolled back")
	if _, err := env.Run(ctx, host.Command{
		Args: []string{"/usr/sbin/mariadbd", "--user=mysql", "--tc-heuristic-recover=ROLLBACK", "--wsrep-recover"}, Timeout: 10 * time.Minute,
	}); err != nil {
		return fmt.Errorf("roll back prepared transactions: %w", err)
	}
	return nil
}

// readGalera looks at the data folder, and asks InnoDB where that tells nothing.
func readGalera(ctx context.Context, env Env) (galeraState, error) {
	state, err := readDatabase(env)
	if err == nil && !state.fresh && state.saved.UUID == noUUID {
		state.recovered, err = recoverPosition(ctx, env)
	}
	return state, err
}

// readDatabase looks at the data folder.
func readDatabase(env Env) (galeraState, error) {
	none := galeraState{saved: nowhere(), recovered: nowhere()}
	fresh, err := emptyData(env)
	if err != nil || fresh {
		none.fresh = fresh
		return none, err
	}
	saved, err := os.ReadFile(env.Path(dataDir + "/grastate.dat"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return none, fmt.Errorf("read grastate.dat: %w", err)
	}
	state, err := parseGrastate(saved)
	if err != nil {
		return state, err
	}
	if view, err := os.Stat(env.Path(dataDir + "/gvwstate.dat")); err == nil && view.Size() == 0 {
		state.emptyGVW = true
	}
	return state, nil
}

// emptyData answers whether the data folder holds no database. It is an error
// if it holds something else.
func emptyData(env Env) (bool, error) {
	entries, err := os.ReadDir(env.Path(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look at %s: %w", dataDir, err)
	}
	var strange []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "ibdata1" || name == "mysql" || name == sstMark:
			return false, nil
		case name == "lost+found" || strings.HasPrefix(name, "debian-") || strings.HasPrefix(name, "."):
			// a file system's own folder, a note of Debian's package, or ours
		case slices.Contains([]string{"galera.cache", "grastate.dat", "gvwstate.dat"}, name):
			// what Galera makes before there are data
		default:
			strange = append(strange, name)
		}
	}
	if len(strange) > 0 {
		return false, fmt.Errorf("%s holds %s but no database; move that away, and a new database is made", dataDir, strings.Join(strange, ", "))
	}
	return true, nil
}

// recoverPosition asks InnoDB for the position of its last commit, by the
// program that Debian's unit asks with too.
func recoverPosition(ctx context.Context, env Env) (GaleraPosition, error) {
	out, err := env.Run(ctx, host.Command{Args: []string{"/usr/bin/galera_recovery"}, Timeout: 15 * time.Minute})
	if err != nil {
		return nowhere(), fmt.Errorf("recover the database's position: %w", err)
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
// power cut there is none or a whole one. Mark is what the file foundingMark says in
// it, nil for no such file.
func installDatabase(ctx context.Context, env Env, mark []byte) error {
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
	if mark != nil {
		if err := env.WriteFile(stagingDir+"/"+foundingMark, mark, 0o600, "mysql", "mysql"); err != nil {
			return err
		}
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
