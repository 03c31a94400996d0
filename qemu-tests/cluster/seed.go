package cluster

import (
	"fmt"
	"os"
)

// A Seed is what a node is told through NoCloud (cloud-init's documentation,
// "Data sources: NoCloud"): a disk labelled CIDATA with these files in its root.
type Seed struct {
	UserData      string // begins with #trivet/v1
	MetaData      string // YAML with instance-id and local-hostname
	NetworkConfig string // netplan version 2; "" leaves the file out
}

// Image returns the seed as a disk image; the same seed gives the same bytes.
func (s Seed) Image() ([]byte, error) {
	files := []File{{"meta-data", []byte(s.MetaData)}, {"user-data", []byte(s.UserData)}}
	if s.NetworkConfig != "" {
		files = append(files, File{"network-config", []byte(s.NetworkConfig)})
	}
	return FAT("CIDATA", files)
}

// write stores the seed's image in a file that only we may read: user-data may
// hold secrets.
func (s Seed) write(path string) error {
	img, err := s.Image()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, img, 0o600); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return nil
}
