package join

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// noUUID is Galera's word for "no history".
const noUUID = "00000000-0000-0000-0000-000000000000"

// A galeraState is what a node's disk tells about its copy of the database,
// while mariadbd is down.
type galeraState struct {
	fresh    bool   // there is no database
	uuid     string // of the cluster's history, from grastate.dat; noUUID if unknown
	seqno    int64  // of the last commit; -1 after a crash
	safe     bool   // safe_to_bootstrap: this node left last
	emptyGVW bool   // gvwstate.dat has no content, which stops a start (galera#354)
}

// A galeraMove is how to start mariadbd.
type galeraMove int

const (
	galeraFound  galeraMove = iota // make a database and begin a cluster with it
	galeraResume                   // begin the cluster again with the data that is here
)

// galeraDecide decides how the only controller of a cloud starts its database.
// No other copy exists, so its data is always the newest, however it went down;
// the unit recovers the position, which keeps the cluster's UUID.
func galeraDecide(s galeraState) galeraMove {
	if s.fresh {
		return galeraFound
	}
	return galeraResume
}

// parseGrastate reads Galera's grastate.dat. What is missing has the value that
// Galera takes for it.
func parseGrastate(data []byte) (galeraState, error) {
	s := galeraState{uuid: noUUID, seqno: -1}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		var err error
		switch strings.TrimSpace(key) {
		case "uuid":
			if s.uuid = value; len(value) != len(noUUID) {
				err = fmt.Errorf("%q is not a UUID", value)
			}
		case "seqno":
			s.seqno, err = strconv.ParseInt(value, 10, 64)
		case "safe_to_bootstrap":
			s.safe = value == "1"
		}
		if err != nil {
			return s, fmt.Errorf("read grastate.dat: %w", err)
		}
	}
	return s, lines.Err()
}

// safeGrastate writes grastate.dat with the permission to begin a cluster. The
// version is that of Galera 4's state file.
func safeGrastate(s galeraState) []byte {
	return fmt.Appendf(nil, "# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   %d\nsafe_to_bootstrap: 1\n", s.uuid, s.seqno)
}
