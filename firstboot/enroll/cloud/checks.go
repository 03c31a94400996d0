package cloud

import (
	"fmt"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// A Severity tells whether a finding stops the operator.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the cloud would not work; nothing is made of the file
	Warning Severity = "warning" // it works, and likely not as meant
)

// A Check is one thing that is looked at in a description.
type Check struct {
	ID       string
	Severity Severity
	About    string // what it is for, in one line

	message string // what is wrong: a format; all of its arguments also serve fix
	fix     string // what to do
}

// A Finding is what a check found, and where.
type Finding struct {
	node.Problem
	ID       string
	Severity Severity
}

// Error is a finding in one line: `file:line:col: message [id]`, with the word
// warning before a warning's message.
func (f Finding) Error() string {
	p := f.Problem
	if f.Severity == Warning {
		p.Message = "warning: " + p.Message
	}
	return fmt.Sprintf("%s [%s]", p.Error(), f.ID)
}

// Checks returns all checks, in the order in which they are explained: the file,
// names, nodes, networks, addresses, cards, Swift, services.
func Checks() []Check {
	return slices.Concat(fileChecks(), nameChecks(), identityChecks(), networkChecks(), vipChecks(),
		addressChecks(), cardChecks(), swiftChecks(), diskChecks(), listChecks(), settingsChecks(), configChecks())
}

func failure(id, about, message, fix string) Check { return Check{id, Error, about, message, fix} }

func warning(id, about, message, fix string) Check { return Check{id, Warning, about, message, fix} }

// say notes what a check found at path, or at the nearest value around it that
// the file has. The arguments are those of the check's format.
func (d *document) say(id, path string, args ...any) {
	at := d.at[""]
	for {
		if p, ok := d.at[path]; ok {
			at = p
			break
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	d.sayAt(id, at[0], at[1], args...)
}

// sayAt notes what a check found at a line and column.
func (d *document) sayAt(id string, line, column int, args ...any) {
	switch {
	case len(d.findings) > maxFindings:
		return
	case len(d.findings) == maxFindings:
		id, args = "too-many", []any{maxFindings}
	}
	check := d.checks[id]
	text := check.message
	if check.fix != "" {
		text += "; " + check.fix
	}
	message := fmt.Sprintf(text, args...)
	d.findings = append(d.findings, Finding{node.Problem{File: d.file, Line: line, Column: column, Message: message}, id, check.Severity})
}

// A checker turns the shape of the file into a Cloud.
type checker struct {
	doc   *document
	file  cloudFile
	cloud *Cloud
}

func (k *checker) say(id, path string, args ...any) { k.doc.say(id, path, args...) }

// has answers whether the file has a value at path, right or wrong.
func (k *checker) has(path string) bool {
	_, ok := k.doc.at[path]
	return ok
}

// all runs every check. The order matters: later ones look at what earlier ones
// understood, and take no notice of what those refused.
func (k *checker) all() {
	k.names()
	k.networks()
	k.nodes()
	k.identities()
	k.vip()
	k.addresses()
	k.cards()
	k.disks()
	k.swift()
	k.lists()
	k.settings()
	k.config()
}

// given answers whether a value is there; if not, it is a problem.
func (k *checker) given(value, path string) bool {
	if value == "" && !k.has(path) {
		k.missing(path)
	}
	return value != ""
}

// missing says that the key at path is not there, and what it is for.
func (k *checker) missing(path string) {
	parent, key := "", path
	if cut := strings.LastIndex(path, "."); cut >= 0 {
		parent, key = path[:cut], path[cut+1:]
	}
	k.say("missing", parent, key, docOf(path))
}

// number returns what is given, or standard. Out of its range it is refused.
func (k *checker) number(id, path string, given *int, standard, least, most int) int {
	if given == nil {
		return standard
	}
	if *given < least || *given > most {
		k.say(id, path, *given, least, most)
		return standard
	}
	return *given
}
