package node

import (
	"reflect"

	"github.com/goccy/go-yaml/ast"
)

// ParseMetaData reads the instance's id and host name out of cloud-init's
// meta-data (NoCloud: instance-id, local-hostname) or OpenStack's
// meta_data.json (uuid, hostname, name). Other keys are left alone. Both may be
// empty; the host name may have a domain.
func ParseMetaData(file string, data []byte) (instance, hostname string, err error) {
	doc, err := parseMetaDataFile(file, data)
	if err != nil || doc.body == nil {
		return "", "", err
	}
	found := map[string]string{}
	doc.eachPair("", doc.body, func(key, below string, value ast.Node) {
		switch key {
		case "instance-id", "uuid", "local-hostname", "hostname", "name":
			// Some tools write a bare number as the id, which is only compared.
			text := ""
			if text = plain(value); text == "" || key != "instance-id" {
				doc.decode(below, value, reflect.ValueOf(&text).Elem())
			}
			found[key] = text
		}
	})
	first := func(keys ...string) string {
		for _, key := range keys {
			if found[key] != "" {
				return found[key]
			}
		}
		return ""
	}
	instance, hostname = first("instance-id", "uuid"), first("local-hostname", "hostname")
	if hostname == "" && found["uuid"] != "" {
		// What Nova calls the machine. In NoCloud's file it would be anything.
		hostname = found["name"]
	}
	return instance, hostname, doc.problems.asError()
}

func parseMetaDataFile(file string, data []byte) (*document, error) {
	if looksLikeJSON(data) {
		if doc, err := parseJSON(file, data, MaxMetaData); err == nil {
			return doc, nil
		}
	}
	doc, err := parseYAML(file, data, MaxMetaData)
	if err == nil {
		doc.nulls = true
	}
	return doc, err
}
