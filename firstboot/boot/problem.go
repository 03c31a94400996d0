package boot

import (
	"errors"
	"strings"
)

// A Problem is why a machine cannot boot.
type Problem struct {
	Err error  // the act, its object and what happened
	Do  string // what the operator can do about it
}

func (p *Problem) Error() string {
	text := p.Err.Error()
	switch {
	case p.Do == "":
		return text
	case strings.Contains(text, "\n"):
		return text + "\nWhat to do: " + p.Do
	}
	return text + "; what to do: " + p.Do
}

// Unwrap returns the error without the advice.
func (p *Problem) Unwrap() error { return p.Err }

// advise adds advice to err; advice that is there already is nearer to the cause
// and stays.
func advise(err error, do string) error {
	var p *Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return &Problem{Err: err, Do: do}
}
