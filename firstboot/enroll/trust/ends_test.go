package trust

import (
	"slices"
	"testing"
	"time"
)

// TestEnding: leaves end after three years and CAs after ten, each as of its own
// last rotation.
func TestEnding(t *testing.T) {
	m := fixedMaster(t)
	_, err := m.Rotate("galera/node", nil, testTime().AddDate(2, 0, 0))
	check(t, err)
	_, err = m.Rotate("api/node@ctl1", nil, testTime().AddDate(1, 0, 0))
	check(t, err)
	for _, c := range []struct {
		years int
		want  []string
	}{
		{2, nil},
		{3, []string{"agent/node", "api/node", "rabbit/node"}},
		{4, []string{"agent/node", "api/node", "rabbit/node", "api/node@ctl1"}},
		{9, []string{"agent/node", "api/node", "rabbit/node", "api/node@ctl1", "galera/node"}},
		{10, []string{"agent/node", "api/node", "rabbit/node", "api/node@ctl1", "galera/node", "agent/ca", "api/ca", "galera/ca", "rabbit/ca"}},
	} {
		cluster, ending, err := Ending(m.dir, testTime().AddDate(c.years, 0, 1))
		check(t, err)
		var names []string
		for _, p := range ending {
			names = append(names, p.Name)
		}
		if cluster != testCluster || !slices.Equal(names, c.want) {
			t.Errorf("within %d years %v of %s end, want %v", c.years, names, cluster, c.want)
		}
	}
	if _, _, err := Ending(t.TempDir(), time.Time{}); err == nil {
		t.Error("an empty folder is no error")
	}
}
