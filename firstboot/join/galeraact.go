package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trivet/firstboot/host"
)

const (
	// undoDir holds the last copy that was set aside.
	undoDir = "/var/lib/mysql.undo"
	// After so many joins that failed, the copy here is made anew, and the step ends
	// with an error for the operator to see; the agent then begins it again.
	galeraTries, galeraGivesUp = 2, 5
	// galeraBegun is how long systemd may take to begin a start.
	galeraBegun = 10 * time.Second
)

// begin carries out a plan that makes a component primary, with the lock held.
func (m *galeraMember) begin(ctx context.Context, t galeraTurn, p GaleraPlan) error {
	if set, err := m.intend(ctx, &t, p); err != nil || !set {
		return err
	}
	intent := *t.Record.Intent
	args := []string{"--read-only=1"}
	var err error
	switch p.Verdict {
	case GaleraFound:
		args = append(args, "--wsrep-new-cluster")
		err = m.prepareFound(ctx, t, intent.Epoch)
	case GaleraBootstrap:
		args = append(args, "--wsrep-new-cluster")
		err = permitBootstrap(m.env, t.own.position().UUID)
	}
	if err == nil {
		err = m.start(ctx, t, intent.Epoch, args...)
	}
	if err != nil || p.Verdict == GaleraTogether { // the others must start too: whileRunning sees to the end
		return err
	}
	defer os.Remove(m.env.Path(newCluster))
	if err = m.settle(ctx); err == nil {
		err = m.complete(ctx)
	}
	if err != nil && ctx.Err() != nil {
		// The lock was lost with the majority: another may begin. Nothing was
		// acknowledged here, so the server goes down.
		return errors.Join(err, m.stop(context.WithoutCancel(ctx), true))
	}
	return err
}

// prepareFound makes the database, unless this node made it before.
func (m *galeraMember) prepareFound(ctx context.Context, t galeraTurn, epoch uint64) error {
	mark := strconv.FormatUint(epoch, 10)
	had, err := os.ReadFile(m.env.Path(dataDir + "/" + foundingMark))
	if err == nil && string(had) == mark {
		return permitBootstrap(m.env, historyOf(t.own))
	}
	if !t.own.Fresh {
		if err := m.setAside(); err != nil {
			return err
		}
	}
	return installDatabase(ctx, m.env, []byte(mark))
}

// historyOf is the UUID of a copy that is here.
func historyOf(r GaleraReport) string {
	if h := r.histories(); len(h) > 0 {
		return h[0]
	}
	return noUUID
}

// start starts the server without waiting for it. From now on the copy here is a part
// of the epoch's history.
func (m *galeraMember) start(ctx context.Context, t galeraTurn, epoch uint64, args ...string) error {
	if err := writeJSON(m.env, epochFile, galeraEpoch{epoch, galeraTable(t.GaleraSituation).at(t.own)}); err != nil {
		return err
	}
	if err := removeFile(m.env, recoveredFile); err != nil {
		return err
	}
	if view, err := os.Stat(m.env.Path(dataDir + "/gvwstate.dat")); err == nil && view.Size() == 0 {
		if err := removeFile(m.env, dataDir+"/gvwstate.dat"); err != nil { // stops a start (galera#354)
			return err
		}
	}
	args = append(args, "--wsrep-cluster-name="+epochName(m.env.Node.Cluster, epoch))
	if err := m.env.WriteFile(newCluster, []byte("_WSREP_NEW_CLUSTER='"+strings.Join(args, " ")+"'\n"), 0o644, "", ""); err != nil {
		return err
	}
	_, _ = m.env.Run(ctx, host.Command{Args: []string{"systemctl", "reset-failed", mariadbUnit}})
	if _, err := m.env.Run(ctx, host.Command{Args: []string{"systemctl", "start", "--no-block", mariadbUnit}}); err != nil {
		return fmt.Errorf("start %s: %w", mariadbUnit, err)
	}
	return nil
}

// epochName is wsrep_cluster_name in an epoch, at most 32 bytes long (MariaDB). Members
// with different names do not speak with each other.
func epochName(cluster string, epoch uint64) string {
	number := "-" + strconv.FormatUint(epoch, 10)
	return cluster[:min(len(cluster), 32-len(number))] + number
}

func removeFile(env Env, path string) error {
	if err := os.Remove(env.Path(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// join starts the server as a member of the primary component, and waits.
func (m *galeraMember) join(ctx context.Context, t galeraTurn) error {
	keep, why, err := GaleraRejoin(t.own, t.Record)
	if err != nil {
		return err
	}
	m.tell("joining the cluster: " + why)
	if !keep {
		if err := m.setAside(); err != nil {
			return err
		}
	}
	if m.failed == galeraTries {
		// An incremental transfer that failed twice will not work the third time.
		// Without grastate.dat all of the data is sent.
		m.tell("joining failed twice; all data are transferred anew")
		if err := removeFile(m.env, dataDir+"/grastate.dat"); err != nil {
			return err
		}
	}
	// A restored view would be waited for, where a primary component exists already.
	if err := removeFile(m.env, dataDir+"/gvwstate.dat"); err != nil {
		return err
	}
	if err := m.env.makeFolder(dataDir, 0o700, "mysql", "mysql"); err != nil {
		return err
	}
	if err := m.start(ctx, t, t.Record.Epoch); err != nil {
		return err
	}
	return m.joined(ctx, m.settle(ctx))
}

// joined counts the joins that failed.
func (m *galeraMember) joined(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		m.failed = 0
		return ctx.Err()
	}
	m.failed++
	m.tell(fmt.Sprintf("joining the cluster failed, for the %d. time: %v", m.failed, err))
	if serr := m.stop(ctx, true); serr != nil {
		return errors.Join(err, serr)
	}
	if m.failed >= galeraGivesUp {
		m.failed = 0
		return fmt.Errorf("join the cluster, %d times: %w", galeraGivesUp, err)
	}
	return nil
}

// settle waits until the server that was started is Synced. A transfer may take as
// long as it makes progress.
func (m *galeraMember) settle(ctx context.Context) error {
	last := time.Now()
	started := last
	for {
		state, err := host.UnitState(ctx, m.env.Host, mariadbUnit)
		if err != nil {
			return err
		}
		// systemd may not have begun the start yet.
		if state == "inactive" && time.Since(started) > galeraBegun || state == "failed" {
			return fmt.Errorf("%s is %s: %s", mariadbUnit, state, m.lastWords(ctx))
		}
		err = galeraAsk(ctx, m.env, galeraWhole)
		if err == nil {
			return nil
		}
		if m.progress() {
			last = time.Now()
		}
		if time.Since(last) > galeraSynced {
			return fmt.Errorf("%w (for %s, and no data arrive)", err, galeraSynced)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(m.pause / 4):
		}
	}
}

// galeraAsk asks the server here for its state, for a bounded time.
func galeraAsk(ctx context.Context, env Env, ask func(map[string]string) error) error {
	ctx, cancel := context.WithTimeout(ctx, galeraAnswer)
	defer cancel()
	is, err := galeraStatus(ctx, env.Database)
	if err == nil {
		err = ask(is)
	}
	return err
}

// progress answers whether the data folder changed its size, as it does while a
// transfer runs and is prepared, and says so.
func (m *galeraMember) progress() bool {
	size := folderSize(m.env.Path(dataDir))
	grew := size != m.size
	if grew && exists(m.env, dataDir+"/.sst") {
		m.tell(fmt.Sprintf("receiving a copy of the database: %d MiB are here", size>>20/50*50))
	}
	m.size = size
	return grew
}

// folderSize sums up what files take, as far as they can be seen.
func folderSize(dir string) int64 {
	var size int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a file may go while we look
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}

// lastWords is the end of the unit's journal.
func (m *galeraMember) lastWords(ctx context.Context) string {
	out, err := m.env.Run(ctx, host.Command{Args: []string{"journalctl", "--no-pager", "--boot", "--lines=5", "--output=cat", "--unit", mariadbUnit}, Timeout: 20 * time.Second})
	if err != nil {
		return "its journal cannot be read"
	}
	return strings.Join(strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), "; ")
}

// setAside moves the data folder away, keeping one such copy where there is room for
// it and a new one.
func (m *galeraMember) setAside() error {
	if err := os.RemoveAll(m.env.Path(undoDir)); err != nil {
		return fmt.Errorf("remove the last copy that was set aside: %w", err)
	}
	if err := os.Rename(m.env.Path(dataDir), m.env.Path(undoDir)); err != nil {
		return fmt.Errorf("set the data aside: %w", err)
	}
	var fs unix.Statfs_t
	size := folderSize(m.env.Path(undoDir))
	if err := unix.Statfs(m.env.Path(filepath.Dir(dataDir)), &fs); err == nil && int64(fs.Bavail)*fs.Bsize < size+size/4 {
		m.tell("there is no room to keep the old data beside the new")
		if err := os.RemoveAll(m.env.Path(undoDir)); err != nil {
			return fmt.Errorf("remove the old data: %w", err)
		}
	} else {
		m.tell("the old data are kept as " + undoDir)
	}
	if err := m.env.makeFolder(dataDir, 0o700, "mysql", "mysql"); err != nil {
		return err
	}
	return host.SyncDir(m.env.Path(filepath.Dir(dataDir)))
}

// whileRunning deals with a server that runs: it is finished, given time, or stopped.
func (m *galeraMember) whileRunning(ctx context.Context, t galeraTurn) (done bool, err error) {
	i := t.Record.Intent
	mine := i != nil && i.Epoch == t.own.Epoch && slices.Contains(i.Nodes, t.own.Node)
	synced := t.own.Primary && galeraAsk(ctx, m.env, galeraWhole) == nil
	switch {
	case synced && mine:
		return false, m.complete(ctx)
	case synced && t.Record.Formed && t.own.UUID == t.Record.UUID && t.own.Epoch == t.Record.Epoch:
		return true, m.open(ctx)
	case t.own.Primary && !mine && (!t.Record.Formed || t.own.Epoch != t.Record.Epoch):
		m.tell("the server here is in a component that the other controllers do not know; it is stopped")
		return false, m.stop(ctx, false)
	case t.own.Primary || m.progress(): // data arrive, or this member gives them
		m.outside = time.Time{}
		return false, nil
	}
	return false, m.whileOutside(ctx, t, mine && i.Verdict == GaleraTogether)
}

// whileOutside gives a server that runs in no primary component some time.
func (m *galeraMember) whileOutside(ctx context.Context, t galeraTurn, restoring bool) error {
	if m.outside.IsZero() {
		m.outside = time.Now()
	}
	limit := galeraOutside
	if restoring {
		limit = galeraRestore
	}
	m.tell("the server here is in no primary component; waiting for it")
	if time.Since(m.outside) < limit {
		return nil
	}
	m.tell(fmt.Sprintf("the server here is in no primary component for %s; it is stopped", limit))
	if restoring {
		r := t.Record
		r.Alone, r.Intent = true, nil
		if _, err := putJSON(ctx, m.env.Quorum, galeraKey, r, t.version); err != nil {
			return err
		}
	}
	return m.stop(ctx, true)
}

// stop stops the server. One that is outside of a primary component is killed: while it
// waits for its last view it does not hear SIGTERM (Galera 26.4.23), and a kill keeps
// gvwstate.dat, by which its members find out whether they are enough. Its data are
// safe at every moment, innodb_flush_log_at_trx_commit being 1.
func (m *galeraMember) stop(ctx context.Context, outside bool) error {
	kill := host.Command{Args: []string{"systemctl", "kill", "--signal=SIGKILL", mariadbUnit}}
	halt := host.Command{Args: []string{"systemctl", "stop", mariadbUnit}, Timeout: galeraRestore}
	if !outside {
		if _, err := m.env.Run(ctx, halt); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		m.tell("the server does not stop; it is killed")
	}
	_, _ = m.env.Run(ctx, kill) // fails where nothing runs any more
	if _, err := m.env.Run(ctx, halt); err != nil {
		return fmt.Errorf("stop %s: %w", mariadbUnit, err)
	}
	return nil
}

// complete records the epoch that this node's server began.
func (m *galeraMember) complete(ctx context.Context) error {
	t, err := m.look(ctx)
	if err != nil {
		return err
	}
	i := t.Record.Intent
	if i == nil || i.Epoch != t.own.Epoch {
		return nil // another member recorded it; or the epoch is another's, and the next turn stops the server
	}
	if !isUUID(t.own.UUID) || t.own.UUID == noUUID {
		return fmt.Errorf("the cluster that began has no history: %q", t.own.UUID)
	}
	if t.Record.UUID != "" && t.own.UUID != t.Record.UUID {
		return errors.Join(fmt.Errorf("the cluster began with the history %s, which should be %s", t.own.UUID, t.Record.UUID), m.stop(ctx, false))
	}
	if set, err := m.done(ctx, t, t.own.UUID); err != nil || !set {
		return err
	}
	m.tell(fmt.Sprintf("epoch %d of the cluster %s began", i.Epoch, t.own.UUID))
	return nil
}

// open lets writes in: the quorum knows the epoch.
func (m *galeraMember) open(ctx context.Context) error {
	if err := removeFile(m.env, dataDir+"/"+foundingMark); err != nil {
		return err
	}
	for _, path := range []string{newCluster, acceptLoss} {
		if err := removeFile(m.env, path); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, galeraAnswer)
	defer cancel()
	if _, err := m.env.Database.ExecContext(ctx, "SET GLOBAL read_only = OFF"); err != nil {
		return fmt.Errorf("open the database for writes: %w", err)
	}
	return nil
}
