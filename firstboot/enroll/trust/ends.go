package trust

import (
	"path/filepath"
	"slices"
	"time"
)

// Ending lists the certificates' purposes of the keys in dir that end before a
// time, the earliest first, and the name of their cloud. It unlocks nothing:
// when a certificate ends follows from the epochs. Nothing is found for a
// formation ticket, of which nobody keeps when it was made.
func Ending(dir string, before time.Time) (cluster string, ending []Purpose, err error) {
	public, err := ReadPublic(dir)
	if err != nil {
		return "", nil, err
	}
	e, err := readEpochs(filepath.Clean(dir))
	if err != nil {
		return "", nil, err
	}
	m := Master{epochs: e}
	for _, p := range m.Purposes(nil) {
		if !p.Until.IsZero() && p.Until.Before(before) {
			ending = append(ending, p)
		}
	}
	slices.SortStableFunc(ending, func(a, b Purpose) int { return a.Until.Compare(b.Until) })
	return public.Cluster, ending, nil
}
