package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// linkLocal is the address of the metadata service of OpenStack and EC2.
const linkLocal = "http://169.254.169.254"

// openStackProducts and openStackAssets are what the firmware of OpenStack's
// machines says (cloud-init, DataSourceOpenStack.py).
func openStackProducts() []string { return []string{"OpenStack Nova", "OpenStack Compute"} }

func openStackAssets() []string {
	return append(openStackProducts(), "HUAWEICLOUD", "OpenTelekomCloud", "SAP CCloud VM", "Samsung Cloud Platform")
}

// lookOpenStack takes the metadata service if the firmware says that this is a
// machine of OpenStack. On bare metal it says the maker's name: there ds=openstack
// is needed.
func lookOpenStack(env Env) (*Candidate, error) {
	product, err := readDMI(env, "product_name")
	if err != nil {
		return nil, err
	}
	asset, err := readDMI(env, "chassis_asset_tag")
	switch {
	case err != nil:
		return nil, err
	case slices.Contains(openStackProducts(), product):
		return openStackCandidate(env, fmt.Sprintf("the product name is %q", product)), nil
	case slices.Contains(openStackAssets(), asset):
		return openStackCandidate(env, fmt.Sprintf("the chassis asset tag is %q", asset)), nil
	}
	return nil, Absent("neither the product name nor the chassis asset tag is of OpenStack")
}

func openStackCandidate(env Env, why string) *Candidate {
	return &Candidate{
		Origin: "OpenStack's metadata service (" + why + ")", Remote: true, Channel: ByNetwork,
		Read: func(ctx context.Context) (Payload, error) { return readOpenStack(ctx, env) },
	}
}

// openStackBases are the addresses of the service: IPv4, then the link-local
// one of IPv6 on every card (Neutron's METADATA_V6_IP).
func openStackBases(env Env) []string {
	if env.IMDS != nil {
		return env.IMDS
	}
	bases := []string{linkLocal}
	cards, _ := os.ReadDir(env.path("/sys/class/net"))
	for _, c := range cards {
		if c.Name() != "lo" {
			bases = append(bases, "http://[fe80::a9fe:a9fe%25"+c.Name()+"]")
		}
	}
	return bases
}

// readOpenStack reads the files of the newest version from the first address
// that answers.
func readOpenStack(ctx context.Context, env Env) (Payload, error) {
	var roots []string
	for _, base := range openStackBases(env) {
		roots = append(roots, strings.TrimSuffix(base, "/")+"/openstack")
	}
	// The service says 404 until it knows the machine.
	list, at, err := env.fetchFirst(ctx, request{client: env.Client, urls: roots, limit: node.MaxMetaData, wait: true})
	if err != nil {
		return Payload{}, err
	}
	version := chooseVersion(list)
	if version == "" {
		return Payload{}, fmt.Errorf("%s lists no version that is known", at)
	}
	base := at + "/" + version + "/"
	meta, err := env.fetch(ctx, request{client: env.Client, urls: []string{base + "meta_data.json"}, limit: node.MaxMetaData, wait: true})
	if err != nil {
		return Payload{}, err
	}
	if _, err := parseOpenStack(base+"meta_data.json", meta); err != nil {
		return Payload{}, err
	}
	user, err := env.optional(ctx, base+"user_data", node.MaxDescription, nil)
	if err != nil {
		return Payload{}, err
	}
	network, err := env.optional(ctx, base+"network_data.json", node.MaxDescription, nil)
	if err != nil {
		return Payload{}, err
	}
	p := openStackPayload(Part{Name: base + "meta_data.json", Data: meta, Has: true}, user, network)
	// Only to tell what is not used: no answer is none.
	listing, err := getOnce(ctx, request{client: env.Client, limit: node.MaxMetaData}, base)
	for name := range strings.FieldsSeq(string(listing)) {
		if err == nil && slices.Contains(vendorFiles(), name) {
			p.Ignored = append(p.Ignored, base+name)
		}
	}
	return p, nil
}

// chooseVersion prefers latest, then the newest that is known, of a list with a
// name a line. It returns "" if none is.
func chooseVersion(list []byte) string {
	var there []string
	for line := range strings.FieldsSeq(string(list)) {
		there = append(there, strings.TrimSuffix(line, "/"))
	}
	for _, v := range versionOrder() {
		if slices.Contains(there, v) {
			return v
		}
	}
	return ""
}

// optional reads a file that the server may not have: it says 404.
func (e Env) optional(ctx context.Context, at string, limit int64, header map[string]string) (Part, error) {
	data, err := e.fetch(ctx, request{client: e.Client, urls: []string{at}, limit: limit, header: header})
	var status statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		return Part{Name: at}, nil
	}
	return Part{Name: at, Data: data, Has: err == nil}, err
}
