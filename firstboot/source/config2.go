package source

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// configLabel is that of a config drive's file system, in any case: Nova and
// Ironic write an ISO labelled config-2; Ironic makes a FAT labelled CONFIG-2
// where the disk's sectors of 4096 bytes do not let an ISO be mounted.
const configLabel = "config-2"

// latest is the name of OpenStack's newest version of the metadata.
const latest = "latest"

// openStackVersions are the dated folders of a config drive and of the metadata
// service, the newest first (cloud-init, helpers/openstack.py, and Nova's
// OPENSTACK_VERSIONS).
func openStackVersions() []string {
	return []string{
		"2018-08-27", "2017-02-22", "2016-10-06", "2016-06-30", "2015-10-15",
		"2013-10-17", "2013-04-04", "2012-08-10",
	}
}

// versionOrder is latest, then the dated ones.
func versionOrder() []string { return append([]string{latest}, openStackVersions()...) }

// A drive is one config drive, read.
type drive struct {
	medium  Medium
	uuid    string
	payload Payload
	wiped   bool
}

// lookConfigDrive takes the file system labelled config-2. Of several with one
// uuid it prefers removable media, then the disk that the root is on, then the
// last name. Two uuids are an error: nobody can know which is meant.
func lookConfigDrive(env Env) (*Candidate, error) {
	media, looked, err := labelled(env, configLabel)
	if err != nil {
		return nil, err
	}
	if len(media) == 0 {
		return nil, noMedium(looked)
	}
	preferConfigDrives(env, media)
	var taken, spent *drive
	for i := range media {
		media[i].Secrets = configSecrets()
		d, err := readDrive(env, media[i])
		switch {
		case err != nil:
			return nil, err
		case d == nil: // empty, as an image may ship it for Ironic to fill
		case d.wiped:
			spent = d
		case taken == nil:
			taken = d
		case taken.uuid != d.uuid:
			return nil, fmt.Errorf("%s and %s are both labelled %s and are of different machines (uuid %s and %s); detach one",
				taken.medium.Name, d.medium.Name, configLabel, taken.uuid, d.uuid)
		}
	}
	switch {
	case taken != nil:
	case spent != nil:
		return nil, wipedError{spent.medium.Name}
	default:
		return nil, Absent(media[0].Name + " has the label, but holds no openstack folder with metadata")
	}
	return &Candidate{
		Origin: taken.medium.String(), Channel: ByDisk, Media: media,
		Read: func(context.Context) (Payload, error) { return taken.payload, nil },
	}, nil
}

// preferConfigDrives sorts by preference.
func preferConfigDrives(env Env, media []Medium) {
	roots := rootDisks(env)
	rank := func(m Medium) int {
		name := strings.TrimPrefix(m.Name, "/dev/")
		switch {
		case isRemovable(env, name):
			return 0
		case roots[wholeDisk(env, name)]:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(media, func(a, b Medium) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(b.Name, a.Name))
	})
}

// readDrive reads a config drive, or returns nil if it is empty.
func readDrive(env Env, m Medium) (*drive, error) {
	under := func(version, file string) string { return "openstack/" + version + "/" + file }
	var metas, users []string
	for _, v := range versionOrder() {
		metas = append(metas, under(v, "meta_data.json"))
		users = append(users, under(v, "user_data"))
	}
	files, err := env.ReadDisk(m.Device, m.Type, metas, node.MaxMetaData)
	if err != nil {
		return nil, err
	}
	at := m.Name + ":/"
	chosen := slices.IndexFunc(metas, func(name string) bool { _, ok := files[name]; return ok })
	if chosen < 0 {
		files, err = env.ReadDisk(m.Device, m.Type, users, node.MaxDescription)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		return nil, fmt.Errorf("%s is missing; a config drive has meta_data.json beside user_data", at+metas[0])
	}
	version := versionOrder()[chosen]
	meta := Part{Name: at + metas[chosen], Data: files[metas[chosen]], Has: true}
	d := &drive{medium: m}
	head, err := parseOpenStack(meta.Name, meta.Data)
	if err != nil {
		return nil, err
	}
	d.uuid = head.uuid
	user, network := under(version, "user_data"), under(version, "network_data.json")
	if files, err = env.ReadDisk(m.Device, m.Type, []string{user, network}, node.MaxDescription); err != nil {
		return nil, err
	}
	d.payload = openStackPayload(meta, partOf(at, user, files), partOf(at, network, files))
	d.payload.Ignored = ignoredOnDrive(env, m, at, version)
	if head.network != "" {
		d.payload.Ignored = append(d.payload.Ignored, at+"openstack"+head.network)
	}
	d.wiped = isWiped(d.payload.UserData.Data)
	return d, nil
}

// partOf is the file of a name, which At is put before.
func partOf(at, name string, files map[string][]byte) Part {
	data, has := files[name]
	return Part{Name: at + name, Data: data, Has: has}
}

// openStackPayload makes a payload of OpenStack's files. Nova writes {} where a
// machine has no network of its own.
func openStackPayload(meta, user, network Part) Payload {
	if isEmptyJSON(network.Data) {
		network = Part{Name: network.Name}
	}
	return Payload{UserData: user, MetaData: meta, NetworkData: network}
}

func isEmptyJSON(data []byte) bool {
	trimmed := bytes.TrimSpace(data)
	return len(trimmed) == 0 || bytes.Equal(trimmed, []byte("{}")) || bytes.Equal(trimmed, []byte("null"))
}

// vendorFiles are the files of whoever runs the cloud. They are not used.
func vendorFiles() []string { return []string{"vendor_data.json", "vendor_data2.json"} }

// ignoredOnDrive lists what is on a drive and is not used. A file that cannot be
// read harms nobody.
func ignoredOnDrive(env Env, m Medium, at, version string) []string {
	var ignored []string
	for _, name := range vendorFiles() {
		name = "openstack/" + version + "/" + name
		files, err := env.ReadDisk(m.Device, m.Type, []string{name}, node.MaxDescription)
		if err == nil && isEmptyJSON(files[name]) {
			continue
		}
		ignored = append(ignored, at+name)
	}
	return ignored
}

// configSecrets are the names of user-data on a config drive, which has it once
// for each version and once more as EC2 names it, and of vendor data.
func configSecrets() []string {
	all := []string{"ec2/" + latest + "/user-data", "ec2/2009-04-04/user-data"}
	for _, v := range versionOrder() {
		for _, f := range append([]string{"user_data"}, vendorFiles()...) {
			all = append(all, "openstack/"+v+"/"+f)
		}
	}
	return all
}

// An openStackHead is what is read of meta_data.json here.
type openStackHead struct {
	uuid string
	// network is the path of a file in the form of /etc/network/interfaces, as
	// Proxmox and old Novas write it, such as /content/0000. It is not used.
	network string
}

// parseOpenStack reads meta_data.json, which must have a uuid. Errors name line
// and column where the JSON is wrong.
func parseOpenStack(file string, data []byte) (openStackHead, error) {
	if len(data) > node.MaxMetaData {
		return openStackHead{}, fmt.Errorf("%s has more than %d bytes", file, node.MaxMetaData)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			before := data[:min(max(0, int(syntax.Offset)-1), len(data))]
			line := 1 + bytes.Count(before, []byte("\n"))
			return openStackHead{}, fmt.Errorf("%s:%d:%d: %w", file, line, len(before)-bytes.LastIndexByte(before, '\n'), err)
		}
		return openStackHead{}, fmt.Errorf("%s: it is not a JSON object", file)
	}
	var h openStackHead
	if err := json.Unmarshal(m["uuid"], &h.uuid); err != nil || strings.TrimSpace(h.uuid) == "" || len(h.uuid) > 128 {
		return openStackHead{}, fmt.Errorf("%s has no uuid, which meta_data.json must have", file)
	}
	var network struct {
		Path string `json:"content_path"`
	}
	if json.Unmarshal(m["network_config"], &network) == nil && len(network.Path) <= 256 {
		h.network = network.Path
	}
	return h, nil
}
