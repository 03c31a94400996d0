package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"trivet/builder/host"
)

const (
	espName  = "esp.img"
	espDir   = "/tmp/trivet-esp"
	loaderAt = "/tmp/trivet-loader"
	ukiAt    = "/tmp/trivet-uki"
	confName = "loader.conf"
	// loaderConf boots the newest UKI at once; no menu, and no editing of a
	// command line that holds the root hash (loader.conf(5)).
	loaderConf = "timeout 0\neditor no\n"
)

// espScript fills the file $1 with a FAT32 file system and the files: arguments
// are the image, sector size, volume id, loader, UKI, loader.conf and the names
// of the loader and the UKI.
const espScript = `
mkfs.vfat --invariant -F 32 -S "$2" -i "$3" -n ESP "$1" >/dev/null
mmd -i "$1" ::/EFI ::/EFI/BOOT ::/EFI/systemd ::/EFI/Linux ::/loader
mcopy -i "$1" "$4" "::/EFI/BOOT/$7"
mcopy -i "$1" "$4" "::/EFI/systemd/$8"
mcopy -i "$1" "$5" "::/EFI/Linux/$9"
mcopy -i "$1" "$6" ::/loader/loader.conf
`

// makeESP writes the EFI system partition to the file espName in dir. Its bytes
// depend only on the contents: mkfs.vfat with --invariant and a given volume id,
// and mtools with the time of the files given, are deterministic.
func makeESP(ctx context.Context, tool Tool, dir string, l Layout, a arch, c Contents, id ids) error {
	// The tool writes in a directory of its own, and the image is built elsewhere.
	work := filepath.Join(dir, "esp")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	img := filepath.Join(work, espName)
	if err := os.WriteFile(filepath.Join(work, confName), []byte(loaderConf), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(img, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(img, l.ESP); err != nil {
		return err
	}
	mounts := []host.Mount{
		{Target: espDir, Layers: []string{work}, Writable: true},
		{Target: loaderAt, Layers: []string{c.Loader}},
		{Target: ukiAt, Layers: []string{c.UKI}},
	}
	err := tool(ctx, mounts, "env", "SOURCE_DATE_EPOCH="+fatTime(c.Epoch), "TZ=UTC", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1",
		"sh", "-ec", espScript, "sh", espDir+"/"+espName, strconv.Itoa(l.SectorSize), id.volume,
		loaderAt, ukiAt, espDir+"/"+confName, a.fallback, a.bootName, ukiName(c.Version))
	if err != nil {
		return err
	}
	return os.Rename(img, filepath.Join(dir, espName))
}

// ukiName is the UKI's file name: systemd-boot sorts by it, newest version first.
func ukiName(version string) string {
	if version == "" {
		return "trivet.efi"
	}
	return fmt.Sprintf("trivet-%s.efi", version)
}

// fatTime is the time as seconds since 1970, not before 1980: FAT begins there.
func fatTime(t time.Time) string {
	first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	if t.IsZero() {
		return strconv.FormatInt(first, 10)
	}
	return strconv.FormatInt(max(t.Unix(), first), 10)
}
