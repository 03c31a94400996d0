package apt

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestAgainstTheRealArchive is run by hand: TRIVET_REAL=DIR go test -run Real.
func TestAgainstTheRealArchive(t *testing.T) {
	dir := os.Getenv("TRIVET_REAL")
	if dir == "" {
		t.Skip("skipped: needs the network; set TRIVET_REAL to a cache directory")
	}
	m, err := HostMirrors("/etc/apt")
	if err != nil {
		t.Fatal(err)
	}
	a := Archive{Mirrors: m, Suite: "trixie", Arch: "amd64", Cache: dir}
	start := time.Now()
	idx, err := a.Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("refresh %v", time.Since(start))
	start = time.Now()
	lock, err := a.Resolve(context.Background(), idx, []Set{{"base", []string{"systemd", "openssh-server", "linux-image-amd64"}}, {"services", []string{"keystone", "mariadb-server", "galera-4", "rabbitmq-server", "haproxy", "keepalived"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resolve %v, %d packages, %s", time.Since(start), len(lock.Packages), lock.Date)
	start = time.Now()
	if _, err := a.Fetch(context.Background(), lock.Packages); err != nil {
		t.Fatal(err)
	}
	t.Logf("fetch %v", time.Since(start))
	if err := lock.WriteFile(dir + "/test.lock"); err != nil {
		t.Fatal(err)
	}
	again, err := ReadLock(dir + "/test.lock")
	if err != nil || again.Digest() != lock.Digest() {
		t.Errorf("the lock read back differs: %v", err)
	}
}
