package cluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fakeScript names what the fake QEMU does once it was greeted, one act a line:
// "console TEXT", "record JSON", "qmp JSON", "sleep DURATION", "await FILE",
// "exit". Without an exit it stays until it is killed or its power button is pressed.
const fakeScript = "TRIVET_FAKE_QEMU"

// TestMain lets the test binary play QEMU's programs when it is called by their
// names: the harness is tested with real processes, sockets and signals, and
// no machine.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "qemu-system-x86_64":
		os.Exit(fakeQEMU(os.Args[1:]))
	case "qemu-img": // create … PATH SIZE
		if err := os.WriteFile(os.Args[len(os.Args)-2], nil, 0o600); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func fakeQEMU(args []string) int {
	if len(args) == 1 && args[0] == "--version" {
		fmt.Println("QEMU emulator version 10.0.2 (a fake)")
		return 0
	}
	qmp, status := os.NewFile(3, "qmp"), os.NewFile(4, "status")
	path := regexp.MustCompile(`id=console,append=on,path=(\S+)`).FindStringSubmatch(strings.Join(args, " "))[1]
	console, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(qmp, `{"QMP": {}}`)
	for in := bufio.NewScanner(qmp); in.Scan(); {
		var c struct {
			Execute string
			ID      int
		}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return 1
		}
		if c.Execute == "human-monitor-command" {
			fmt.Fprintf(qmp, `{"return": "  TCP[HOST_FORWARD]  16  127.0.0.1 4242  10.0.2.100  5000  0  0\r\n", "id": %d}`+"\n", c.ID)
			continue
		}
		fmt.Fprintf(qmp, `{"return": {}, "id": %d}`+"\n", c.ID)
		switch c.Execute {
		case "qmp_capabilities", "system_reset":
			go act(console, status, qmp)
		case "system_powerdown":
			return 0
		}
	}
	return 0
}

func act(console, status, qmp *os.File) {
	for line := range strings.Lines(os.Getenv(fakeScript)) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "console":
			fmt.Fprintf(console, "%s\r\n", rest)
		case "record":
			fmt.Fprintln(status, rest)
		case "qmp":
			fmt.Fprintln(qmp, rest)
		case "sleep":
			d, _ := time.ParseDuration(rest)
			time.Sleep(d)
		case "await": // the harness's kill ends it
			for _, err := os.Stat(rest); err != nil; _, err = os.Stat(rest) {
				time.Sleep(time.Millisecond)
			}
		case "exit":
			os.Exit(3)
		}
	}
}

// fakePrograms puts the fakes before all others.
func fakePrograms(t *testing.T, script string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"qemu-system-x86_64", "qemu-img"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(fakeScript, script)
}

// A strictT stands in for the test that a cluster belongs to: it takes down
// what the cluster says instead of failing.
type strictT struct {
	testing.TB
	said     []string
	failed   bool
	cleanups []func()
}

func (s *strictT) Helper()                   {}
func (s *strictT) Failed() bool              { return s.failed }
func (s *strictT) Cleanup(f func())          { s.cleanups = append(s.cleanups, f) }
func (s *strictT) Logf(f string, a ...any)   { s.said = append(s.said, fmt.Sprintf(f, a...)) }
func (s *strictT) Errorf(f string, a ...any) { s.failed = true; s.Logf(f, a...) }
func (s *strictT) Fatal(a ...any)            { s.Fatalf("%s", fmt.Sprint(a...)) }

func (s *strictT) Fatalf(f string, a ...any) {
	s.Errorf(f, a...)
	panic(s) // as runtime.Goexit ends a real test
}

// during runs test, then its cleanups, and returns all that was said.
func (s *strictT) during(test func()) string {
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(s) {
				panic(r)
			}
		}()
		test()
	}()
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	return strings.Join(s.said, "\n")
}
