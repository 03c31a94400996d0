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
	fresh    bool           // there is no database
	saved    GaleraPosition // grastate.dat's; of no history after a crash within a DDL
	safe     bool           // its safe_to_bootstrap: this node left last
	emptyGVW bool           // gvwstate.dat has no content, which stops a start (galera#354)
	// recovered is InnoDB's own position, which only a start of mariadbd tells.
	// It is asked for where saved has no history.
	recovered GaleraPosition
}

// A GaleraPosition is a point in a cluster's history. Its text is UUID:SEQNO, as
// Galera writes it.
type GaleraPosition struct {
	UUID  string // of the history; noUUID or empty if there is none
	Seqno int64  // of the last commit; -1 if unknown
}

// nowhere is the position of a copy that has none.
func nowhere() GaleraPosition { return GaleraPosition{noUUID, -1} }

// Known answers whether it is a point in a history.
func (p GaleraPosition) Known() bool { return p.UUID != "" && p.UUID != noUUID && p.Seqno >= 0 }

func (p GaleraPosition) String() string {
	if p.UUID == "" {
		return nowhere().String()
	}
	return p.UUID + ":" + strconv.FormatInt(p.Seqno, 10)
}

// MarshalText writes UUID:SEQNO.
func (p GaleraPosition) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads UUID:SEQNO.
func (p *GaleraPosition) UnmarshalText(text []byte) (err error) {
	*p, err = parsePosition(string(text))
	return err
}

// A galeraPlan is how to start mariadbd.
type galeraPlan struct {
	found bool // make a database, and begin a cluster with it
	// history is that of the data here, with which the cluster begins again.
	// NoUUID: the data never was part of one.
	history string
}

// galeraDecide decides how the only controller of a cloud starts its database.
// No other copy exists, so its data is always the newest, however it went down.
// The history's UUID is kept: under another one, members that join later would
// take a copy for a stranger's.
func galeraDecide(s galeraState) galeraPlan {
	switch {
	case s.fresh:
		return galeraPlan{found: true, history: noUUID}
	case s.saved.UUID != noUUID:
		return galeraPlan{history: s.saved.UUID}
	}
	return galeraPlan{history: s.recovered.UUID}
}

// parsePosition reads UUID:SEQNO as mariadbd --wsrep-recover logs it. A GTID may
// follow after a comma.
func parsePosition(s string) (GaleraPosition, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(s), ",")
	uuid, seqno, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(seqno, 10, 64)
	if !ok || err != nil || !isUUID(uuid) {
		return nowhere(), fmt.Errorf("%q is not a position of Galera", s)
	}
	return GaleraPosition{uuid, n}, nil
}

// isUUID answers whether a text has the form of one (RFC 9562 §4).
func isUUID(s string) bool {
	if len(s) != len(noUUID) {
		return false
	}
	for i, c := range []byte(s) {
		dash := noUUID[i] == '-'
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// parseGrastate reads Galera's grastate.dat. What is missing has the value that
// Galera takes for it.
func parseGrastate(data []byte) (galeraState, error) {
	s := galeraState{saved: nowhere(), recovered: nowhere()}
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
			if s.saved.UUID = value; !isUUID(value) {
				err = fmt.Errorf("%q is not a UUID", value)
			}
		case "seqno":
			s.saved.Seqno, err = strconv.ParseInt(value, 10, 64)
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
// position is the one that mariadbd is started with. The version is that of
// Galera 4's state file.
func safeGrastate(history string) []byte {
	return fmt.Appendf(nil, "# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   -1\nsafe_to_bootstrap: 1\n", history)
}
