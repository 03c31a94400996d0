package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"trivet/firstboot/host"
)

// What a member keeps beside its data.
const (
	// epochFile holds the epoch in which this node was a member last. It is not in
	// the data folder, which a state transfer empties.
	epochFile = "/var/lib/trivet/mariadb.json"
	// foundingMark is a file in the data folder: this database was made to found a
	// cluster, and the quorum has not recorded it.
	foundingMark = ".trivet-founding"
	// recoveredFile holds the position that a start of mariadbd told; it is gone
	// after the next start.
	recoveredFile = "/run/trivet/mariadb-recovered.json"
	// sstMark is in the data folder while a state transfer fills it.
	sstMark = "sst_in_progress"
)

// A galeraRecovery is the content of recoveredFile.
type galeraRecovery struct {
	Position GaleraPosition `json:"position"`
	Tainted  bool           `json:"tainted"`
	Failed   bool           `json:"failed"` // the data cannot be read
}

// A galeraEpoch is the content of epochFile.
type galeraEpoch struct {
	Epoch uint64 `json:"epoch"`
	From  int64  `json:"from"` // as in GaleraReport
}

// galeraTell is what this node reports to the other controllers. It starts nothing
// and waits for nothing: what takes time is done by the step itself. A copy that
// cannot be read is as one that is missing.
func galeraTell(ctx context.Context, env Env) ([]byte, error) {
	r, err := galeraLook(ctx, env)
	if err != nil {
		return nil, err
	}
	var recovery galeraRecovery
	if err := readJSON(env, recoveredFile, &recovery); err != nil {
		return nil, err
	}
	if recovery.Failed && r.State == GaleraBusy {
		return nil, errors.New("the database here cannot be read")
	}
	return json.Marshal(r)
}

// galeraLook reports on this node.
func galeraLook(ctx context.Context, env Env) (GaleraReport, error) {
	ctx, cancel := context.WithTimeout(ctx, galeraAnswer)
	defer cancel()
	r := GaleraReport{Node: env.Node.Name, State: GaleraRunning}
	state, err := host.UnitState(ctx, env.Host, mariadbUnit)
	if err != nil {
		return r, err
	}
	r.Founding = exists(env, dataDir+"/"+foundingMark)
	r.AcceptLoss = exists(env, acceptLoss)
	var epoch galeraEpoch
	if err := readJSON(env, epochFile, &epoch); err != nil {
		return r, err
	}
	r.Epoch, r.From = epoch.Epoch, epoch.From
	if state == "inactive" || state == "failed" {
		return galeraLookAtDisk(env, r)
	}
	if state == "active" {
		// One that does not answer is reported as running, in no primary component.
		if s, err := galeraStatus(ctx, env.Database); err == nil {
			r.Primary, r.Member, r.UUID = s["wsrep_cluster_status"] == "Primary", s["wsrep_local_state_comment"], s["wsrep_cluster_state_uuid"]
		}
	}
	if !isUUID(r.UUID) {
		r.UUID, r.Primary = "", false
	}
	return r, nil
}

// galeraLookAtDisk reports on the copy of a server that is down.
func galeraLookAtDisk(env Env, r GaleraReport) (GaleraReport, error) {
	r.State = GaleraStopped
	disk, err := readDatabase(env)
	if err != nil {
		return r, err
	}
	r.Fresh, r.Saved, r.Safe = disk.fresh, disk.saved, disk.safe
	r.Partial = exists(env, dataDir+"/"+sstMark)
	if r.Fresh {
		return r, nil
	}
	view, err := os.ReadFile(env.Path(dataDir + "/gvwstate.dat"))
	if err == nil && len(view) > 0 {
		// One that cannot be read is a lost one.
		r.View, _ = parseView(view)
	}
	var recovery galeraRecovery
	if err := readJSON(env, recoveredFile, &recovery); err != nil {
		return r, err
	}
	r.Recovered, r.Tainted = recovery.Position, recovery.Tainted
	if !r.Partial && (recovery.Failed || !exists(env, recoveredFile)) {
		r.State, r.What = GaleraBusy, "has not read the position of its data yet"
	}
	return r, nil
}

func exists(env Env, path string) bool {
	_, err := os.Lstat(env.Path(path))
	return err == nil
}

// readJSON reads a small file of ours into a value, which it leaves as it is where
// there is no such file.
func readJSON(env Env, path string, into any) error {
	data, err := os.ReadFile(env.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(env Env, path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return env.WriteFile(path, data, 0o600, "", "")
}
