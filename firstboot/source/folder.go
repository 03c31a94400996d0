package source

import (
	"context"
	"os"
	"path/filepath"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// seedFolders are those of cloud-init, and one of ours for what the network
// boot puts into the initrd.
func seedFolders() []string {
	return []string{"/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net", "/run/trivet/seed"}
}

// lookFolder takes the first folder that has both files which a seed must have.
func lookFolder(env Env) (*Candidate, error) {
	for _, dir := range seedFolders() {
		if !isFile(env.path(dir+"/user-data")) || !isFile(env.path(dir+"/meta-data")) {
			continue
		}
		return &Candidate{Origin: dir, Read: func(context.Context) (Payload, error) {
			files, err := host.ReadFolder(env.path(dir), names(), node.MaxDescription)
			if err != nil {
				return Payload{}, err
			}
			return payload(dir+"/", files)
		}}, nil
	}
	return nil, Absent("no such folder has both user-data and meta-data")
}

func isFile(path string) bool {
	info, err := os.Lstat(filepath.Clean(path))
	return err == nil && info.Mode().IsRegular()
}
