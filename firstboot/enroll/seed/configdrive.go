package seed

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"

	"trivet/firstboot/node"
)

// versions are the folders of a config drive: the newest dated one that
// cloud-init knows, and the one that all know (Nova's OPENSTACK_VERSIONS;
// cloud-init, helpers/openstack.py).
func versions() []string { return []string{"2018-08-27", "latest"} }

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// metaDataFile is meta_data.json, as much of it as a node needs.
type metaDataFile struct {
	UUID     string `json:"uuid"`
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
}

// configDrive are the files of an OpenStack config drive.
func (s Seed) configDrive() ([]named, error) {
	instance, hostname, err := node.ParseMetaData("meta-data", s.MetaData)
	if err != nil {
		return nil, err
	}
	if hostname == "" {
		hostname = s.Node
	}
	meta, err := marshal(metaDataFile{instanceUUID(instance), s.Node, hostname})
	if err != nil {
		return nil, err
	}
	network := []byte("{}\n") // as Nova writes it for a machine without networks
	if s.NetworkConfig != nil {
		if network, err = networkData(s.NetworkConfig); err != nil {
			return nil, err
		}
	}
	var all []named
	for _, v := range versions() {
		dir := "openstack/" + v + "/"
		all = append(all, named{dir + "meta_data.json", meta}, named{dir + "user_data", s.UserData}, named{dir + "network_data.json", network})
	}
	return all, nil
}

// instanceUUID is the instance-id, if that is a UUID, else one that follows from
// it (RFC 9562 §5.8, version 8: of one's own making).
func instanceUUID(instance string) string {
	if uuidForm.MatchString(instance) {
		return instance
	}
	b := sha256.Sum256([]byte("trivet instance " + instance))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// marshal writes JSON for people.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
