package source

import (
	"os"
	"path/filepath"
)

// initrdSeed is what the network boot puts into the initrd for us, as iPXE does
// with `initrd URL /run/trivet/seed/user-data`.
const initrdSeed = "/run/trivet/seed"

// seedFolders are those of cloud-init, and ours.
func seedFolders() []string {
	return []string{"/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net", initrdSeed}
}

// lookFolder takes the first folder that has both files which a seed must have.
func lookFolder(env Env) (*Candidate, error) {
	for _, dir := range seedFolders() {
		if isFile(env.path(dir+"/user-data")) && isFile(env.path(dir+"/meta-data")) {
			return folderCandidate(env, dir), nil
		}
	}
	return nil, Absent("no such folder has both user-data and meta-data")
}

func isFile(path string) bool {
	info, err := os.Lstat(filepath.Clean(path))
	return err == nil && info.Mode().IsRegular()
}
