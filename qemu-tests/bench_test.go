package qemutests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchTime bounds one run of any builder.
const benchTime = 40 * time.Minute

// BenchmarkController builds the controller in the ways in which an operator
// does, and has mkosi and mmdebstrap do the same work in the same run: the
// packages are those of trivet's lock, fetched before, from one archive. What a
// peer does not do it does not pay for: mkosi makes one raw disk with verity and
// UKI, mmdebstrap a directory; trivet's times hold all artifacts and SBOMs.
// Ratios are the peer's seconds by trivet's.
func BenchmarkController(b *testing.B) {
	s := newBenchSite(b)
	s.build(b, "controller") // fetches
	m := newMkosi(b, s.packages(b))
	d := newMmdebstrap(b, s.packages(b))
	b.Run("cold", func(b *testing.B) {
		compare(b, contender{"trivet", s.forget, s.role("controller")}, contender{"mkosi", m.forgetImage, m.build}, contender{"mmdebstrap", d.forget, d.build})
		b.ReportMetric(s.size(b, "controller.root"), "trivet-root-MB")
		b.ReportMetric(s.size(b, "controller.raw"), "trivet-disk-MB")
		b.ReportMetric(m.size(b), "mkosi-disk-MB")
	})
	b.Run("cold-with-tools", func(b *testing.B) {
		compare(b, contender{"trivet", s.forget, s.role("controller")}, contender{"mkosi", m.forget, m.build})
	})
	b.Run("nothing-changed", func(b *testing.B) {
		compare(b, contender{"trivet", unprepared, s.role("controller")}, contender{"mkosi", unprepared, m.build})
	})
	b.Run("overlay-file", func(b *testing.B) {
		compare(b, contender{"trivet", s.changeOverlay, s.role("controller")}, contender{"mkosi", m.changeExtra, m.build})
	})
	b.Run("package-added", func(b *testing.B) {
		compare(b, contender{"trivet", s.addPackage, s.role("controller")}, contender{"mkosi", m.addPackage, m.build})
	})
}

// BenchmarkThreeRoles builds all images from nothing but fetched packages.
func BenchmarkThreeRoles(b *testing.B) {
	s := newBenchSite(b)
	s.build(b, "controller", "compute", "storage") // fetches
	compare(b, contender{"trivet", s.forget, func(b *testing.B) usage { return s.build(b, "controller", "compute", "storage") }})
}

// A contender does one piece of work, after what brings it to the start.
type contender struct {
	name    string
	prepare func(*testing.B)
	run     func(*testing.B) usage
}

// A usage is what a run cost.
type usage struct {
	wall, cpu time.Duration
	peak      int64 // bytes, of the largest process
}

// compare lets each contender run, in turns, and reports seconds, memory and
// the ratios to the first.
func compare(b *testing.B, all ...contender) {
	sum := make([]usage, len(all))
	n := 0
	for b.Loop() {
		for i, c := range all {
			c.prepare(b)
			u := c.run(b)
			b.Logf("%s: %.1f s, CPU %.1f s, largest process %d MB", c.name, u.wall.Seconds(), u.cpu.Seconds(), u.peak/1e6)
			sum[i].wall += u.wall
			sum[i].peak = max(sum[i].peak, u.peak)
		}
		n++
	}
	b.ReportMetric(0, "ns/op") // the sum over all contenders says nothing
	for i, c := range all {
		b.ReportMetric(sum[i].wall.Seconds()/float64(n), c.name+"-s")
		b.ReportMetric(float64(sum[i].peak)/1e6, c.name+"-peak-MB")
		if i > 0 {
			b.ReportMetric(sum[i].wall.Seconds()/sum[0].wall.Seconds(), c.name+"/trivet")
		}
	}
}

func unprepared(*testing.B) {}

// measure runs a program to its end.
func measure(b *testing.B, env []string, dir string, args ...string) usage {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), benchTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(args[:min(len(args), 6)], " "), err, out[max(0, len(out)-4000):])
	}
	u := usage{wall: took, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = ru.Maxrss << 10 // getrusage(2): KiB
	}
	return u
}

// A benchSite is a copy of the sources with a cache and an output of its own.
type benchSite struct {
	program, dir string
	changes      int
}

func newBenchSite(b *testing.B) *benchSite {
	s := &benchSite{program: trivet(b), dir: benchDir(b)}
	for _, from := range []string{"roles", "overlays"} {
		if err := copyTree(filepath.Join(repository, from), filepath.Join(s.dir, from)); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// benchDir is not b.TempDir(): images of gigabytes go where there is room, and
// trees hold folders that only their owner can clear.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/var/tmp", "trivet-bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := removeAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

func (s *benchSite) out() string { return filepath.Join(s.dir, "out") }

func (s *benchSite) build(b *testing.B, roles ...string) usage {
	return measure(b, nil, s.dir, append([]string{s.program, "build", "--source", s.dir, "--cache", filepath.Join(s.dir, "cache"), "--out", s.out()}, roles...)...)
}

func (s *benchSite) role(name string) func(*testing.B) usage {
	return func(b *testing.B) usage { return s.build(b, name) }
}

// forget leaves of the cache what came from the archive.
func (s *benchSite) forget(b *testing.B) {
	remove(b, s.out())
	kept, err := os.ReadDir(filepath.Join(s.dir, "cache"))
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range kept {
		if e.Name() != "debs" && e.Name() != "apt" {
			remove(b, filepath.Join(s.dir, "cache", e.Name()))
		}
	}
}

func (s *benchSite) changeOverlay(b *testing.B) {
	s.changes++
	write(b, filepath.Join(s.dir, "overlays/common/etc/motd"), fmt.Sprintf("change %d\n", s.changes))
}

// addPackage adds another package, that nothing depends on, to the role.
func (s *benchSite) addPackage(b *testing.B) {
	name := filepath.Join(s.dir, "roles/controller.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	const at = "\npackages:\n"
	if !strings.Contains(string(text), at) {
		b.Fatalf("%s has no packages: to add one to", name)
	}
	write(b, name, strings.Replace(string(text), at, at+"  - "+s.another(b)+"\n", 1))
}

// another names a small package, a new one each time.
func (s *benchSite) another(b *testing.B) string {
	small := smallPackages()
	if s.changes++; s.changes > len(small) {
		b.Fatal("more rounds than packages to add")
	}
	return small[s.changes-1]
}

// smallPackages have no dependencies beyond what every image holds.
func smallPackages() []string { return []string{"tree", "pv", "lsscsi", "bc", "time", "file"} }

// packages are the names of what the controller holds.
func (s *benchSite) packages(b *testing.B) []string {
	text, err := os.ReadFile(filepath.Join(s.out(), "controller.manifest.json"))
	if err != nil {
		b.Fatal(err)
	}
	var m struct {
		Packages []struct {
			Name string `json:"name"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, p := range m.Packages {
		names = append(names, p.Name)
	}
	return names
}

// size is what a file takes on the disk, in MB.
func (s *benchSite) size(b *testing.B, name string) float64 {
	return sizeOnDisk(b, filepath.Join(s.out(), name))
}

func sizeOnDisk(b *testing.B, path string) float64 {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		b.Fatal(err)
	}
	return float64(st.Blocks) * 512 / 1e6 // stat(2): blocks of 512 bytes
}

func write(b *testing.B, path, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

func remove(b *testing.B, path string) {
	b.Helper()
	if err := removeAll(path); err != nil {
		b.Fatal(err)
	}
}
