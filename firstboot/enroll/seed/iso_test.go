package seed

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"
)

// TestDiscs reads the discs with go-diskfs, by their Rock Ridge names.
func TestDiscs(t *testing.T) {
	s := theSeed()
	for _, c := range []struct {
		format Format
		label  string
		files  map[string][]byte // nil: any content
	}{
		{NoCloudISO, "cidata", map[string][]byte{"user-data": s.UserData, "meta-data": s.MetaData, "network-config": s.NetworkConfig}},
		{ConfigDriveISO, "config-2", map[string][]byte{
			"openstack/latest/user_data": s.UserData, "openstack/latest/meta_data.json": nil, "openstack/latest/network_data.json": nil,
			"openstack/2018-08-27/user_data": s.UserData, "openstack/2018-08-27/meta_data.json": nil, "openstack/2018-08-27/network_data.json": nil,
		}},
	} {
		dir := t.TempDir()
		_, err := Write(c.format, s, options(c.format, dir))
		check(t, err)
		path := outOf(c.format, dir)
		f, err := os.Open(path)
		check(t, err)
		defer f.Close()
		info, err := f.Stat()
		check(t, err)
		disc, err := iso9660.Read(file.New(f, true), info.Size(), 0, 2048)
		check(t, err)
		if strings.TrimRight(disc.Label(), " ") != c.label {
			t.Errorf("%s: the label is %q", c.format, disc.Label())
		}
		data, err := os.ReadFile(path)
		check(t, err)
		var seen []string
		for name, want := range c.files {
			got, err := disc.ReadFile(name)
			if err != nil || want != nil && !bytes.Equal(got, want) {
				t.Errorf("%s: %s is %q: %v", c.format, name, got, err)
			}
			if !bytes.Equal(got, jolietFile(t, data, name)) {
				t.Errorf("%s: %s is another file by its Joliet name", c.format, name)
			}
			seen = append(seen, name)
		}
		if len(seen) == 0 || info.Size() < 64<<10 || info.Size()%2048 != 0 {
			t.Errorf("%s: the disc has %d bytes", c.format, info.Size())
		}
	}
}

// jolietFile finds a file by its Joliet name, by the specification alone.
func jolietFile(t *testing.T, disc []byte, path string) []byte {
	t.Helper()
	svd := disc[17*2048:]
	if svd[0] != 2 || string(svd[88:91]) != "%/E" || binary.LittleEndian.Uint32(svd[80:])*2048 != uint32(len(disc)) {
		t.Fatal("no Joliet descriptor")
	}
	extent := func(r []byte) []byte {
		at, size := binary.LittleEndian.Uint32(r[2:])*2048, binary.LittleEndian.Uint32(r[10:])
		if binary.BigEndian.Uint32(r[6:])*2048 != at || binary.BigEndian.Uint32(r[14:]) != size {
			t.Fatal("the two byte orders differ")
		}
		return disc[at : at+size]
	}
	here := extent(svd[156:])
	for part := range strings.SplitSeq(path, "/") {
		var next []byte
		for records := range slices.Chunk(here, 2048) {
			for r := records; len(r) > 0 && r[0] > 0; r = r[r[0]:] {
				var name []uint16
				for i := 0; i+1 < int(r[32]); i += 2 {
					name = append(name, binary.BigEndian.Uint16(r[33+i:]))
				}
				if string(utf16.Decode(name)) == part {
					next = extent(r)
				}
			}
		}
		if next == nil {
			t.Fatalf("no %s", part)
		}
		here = next
	}
	return here
}

// TestLargeDisc has folders of more than one sector, and files of all sizes
// around one.
func TestLargeDisc(t *testing.T) {
	var files []named
	for i := range 300 {
		name := "dir/file-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ".bin"
		files = append(files, named{name, bytes.Repeat([]byte{byte(i + 1)}, (i%5)*1024)})
	}
	data, err := iso("big", files, epochTime())
	check(t, err)
	path := filepath.Join(t.TempDir(), "x.iso")
	check(t, os.WriteFile(path, data, 0o600))
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	disc, err := iso9660.Read(file.New(f, true), int64(len(data)), 0, 2048)
	check(t, err)
	for _, want := range files {
		if len(want.data) == 0 {
			continue // go-diskfs does not read empty files
		}
		got, err := disc.ReadFile(want.name)
		if err != nil || !bytes.Equal(got, want.data) {
			t.Errorf("%s has %d bytes, not %d: %v", want.name, len(got), len(want.data), err)
		}
		if !bytes.Equal(jolietFile(t, data, want.name), want.data) {
			t.Errorf("%s is another file by its Joliet name", want.name)
		}
	}
}

func TestISORefuses(t *testing.T) {
	for name, files := range map[string][]named{
		"twice":          {{"a", nil}, {"a", nil}},
		"alike":          {{"user-data", nil}, {"user_data", nil}},
		"file as folder": {{"a", nil}, {"a/b", nil}},
		"folder as file": {{"a/b", nil}, {"a", nil}},
		"empty":          {{"a//b", nil}},
		"absolute":       {{"/a", nil}},
		"long":           {{strings.Repeat("a", 31), nil}},
		"version":        {{"a;1", nil}},
	} {
		if _, err := iso("x", files, epochTime()); err == nil {
			t.Errorf("%s: it is made", name)
		}
	}
}

func TestConfigDrive(t *testing.T) {
	s := theSeed()
	files, err := s.configDrive()
	check(t, err)
	got := map[string]string{}
	for _, f := range files {
		got[f.name] = string(f.data)
	}
	if diff := cmp.Diff(got["openstack/latest/meta_data.json"], got["openstack/2018-08-27/meta_data.json"]); diff != "" {
		t.Error(diff)
	}
	golden(t, "meta_data.json", got["openstack/latest/meta_data.json"])
	golden(t, "network_data.json", got["openstack/latest/network_data.json"])
	s.MetaData = []byte("instance-id: 11111111-2222-4333-8444-555555555555\nlocal-hostname: ctl1.example.org\n")
	s.NetworkConfig = nil
	files, err = s.configDrive()
	check(t, err)
	for _, f := range files {
		if strings.HasSuffix(f.name, "network_data.json") && string(f.data) != "{}\n" {
			t.Errorf("without networks: %s", f.data)
		}
		if strings.HasSuffix(f.name, "meta_data.json") && (!bytes.Contains(f.data, []byte(`"uuid": "11111111-2222-4333-8444-555555555555"`)) || !bytes.Contains(f.data, []byte("ctl1.example.org"))) {
			t.Errorf("got %s", f.data)
		}
	}
}
