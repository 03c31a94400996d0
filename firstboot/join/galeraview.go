package join

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxMembers bounds a view that is read, far above a cloud's controllers.
const maxMembers = 64

// A GaleraView is the last primary component that a node was a member of, by
// Galera's gvwstate.dat. The file is there while the server runs and after a
// crash; a server that stops in order removes it.
type GaleraView struct {
	Me      string   `json:"me"`  // this node's UUID as a member, which no other file tells
	ID      string   `json:"id"`  // of the view, with Seq
	Seq     int64    `json:"seq"` // rises from view to view
	Members []string `json:"members"`
}

// parseView reads gvwstate.dat:
//
//	my_uuid: UUID
//	#vwbeg
//	view_id: 3 UUID SEQ
//	bootstrap: 0
//	member: UUID SEGMENT
//	#vwend
func parseView(data []byte) (*GaleraView, error) {
	v := &GaleraView{}
	whole := false
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		var err error
		switch {
		case len(f) == 0:
		case f[0] == "#vwend":
			whole = true
		case f[0] == "my_uuid:" && len(f) == 2:
			v.Me = f[1]
		case f[0] == "view_id:" && len(f) == 4:
			v.ID = f[2]
			v.Seq, err = strconv.ParseInt(f[3], 10, 64)
		case f[0] == "member:" && len(f) >= 2 && len(v.Members) < maxMembers:
			v.Members = append(v.Members, f[1])
		}
		if err != nil {
			return nil, fmt.Errorf("read gvwstate.dat: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read gvwstate.dat: %w", err)
	}
	if err := v.check(); err != nil || !whole {
		return nil, errors.Join(errors.New("read gvwstate.dat: it is not whole"), err)
	}
	return v, nil
}

func (v *GaleraView) check() error {
	for _, u := range append([]string{v.Me, v.ID}, v.Members...) {
		if !isUUID(u) {
			return fmt.Errorf("%q is not a UUID", u)
		}
	}
	if !slices.Contains(v.Members, v.Me) {
		return fmt.Errorf("the view does not have its owner %s as a member", v.Me)
	}
	return nil
}
