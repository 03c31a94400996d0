package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong in a file, and where.
type Problem struct {
	File    string
	Line    int // from 1; 0: the file as a whole
	Column  int // from 1
	Message string
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems are all that is wrong with a description, in the order of its lines.
type Problems []Problem

// maxProblems bounds what an operator has to read on a console.
const maxProblems = 20

func (ps Problems) Error() string {
	lines := make([]string, 0, len(ps))
	for _, p := range ps {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

// asError returns nil if there are none.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(ps) > maxProblems {
		more := Problem{File: ps[0].File, Message: fmt.Sprintf("and %d more", len(ps)-maxProblems)}
		ps = append(ps[:maxProblems:maxProblems], more)
	}
	return ps
}
