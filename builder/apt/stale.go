package apt

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// staleAfter is the age at which something temporary belongs to no living process.
const staleAfter = 24 * time.Hour

// removeStale removes what killed processes left in dir. It is a courtesy: an
// error is no reason to stop.
func removeStale(dir string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		info, err := n.Info()
		if err == nil && strings.HasPrefix(n.Name(), ".tmp-") && time.Since(info.ModTime()) > staleAfter {
			os.RemoveAll(filepath.Join(dir, n.Name()))
		}
	}
}
