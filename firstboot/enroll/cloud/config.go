package cloud

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on the free-form part, those of package node.
const (
	maxConfigOptions = 1000
	maxConfigValue   = 8 << 10   // bytes of one
	maxConfig        = 256 << 10 // bytes of all values
)

// The forms of names are those of package node.
var (
	sectionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,79}$`)
	// No colon, which package node would take: for oslo.config it ends the name.
	optionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,79}$`)
	// secretName finds options that hold a secret, secretValue such values.
	secretName  = regexp.MustCompile(`(?i)(passw|secret|private_key|credential_key|auth_key|(^|_)token$)`)
	secretValue = regexp.MustCompile(`://[^/@\s]*:[^/@\s]+@|BEGIN [A-Z ]*PRIVATE KEY|AGE-SECRET-KEY-`)
)

func configChecks() []Check {
	return []Check{
		failure("config-service", "config: names services that have options", "config knows no service %q", "%suse one of %s"),
		failure("config-untaken", "options reach a file of the service", "the images take no options of %s yet, so these would have no effect", "take them out; config: has an effect for %[2]s"),
		warning("config-section", "sections of config: are those of the service", "%s has no section %q that is known here", "%sleave it if the service's documentation has it"),
		failure("config-form", "options and values fit into a file of options", "%s", "write option: value, in one line"),
		failure("config-secret", "no secret is in the description", "this holds a secret, and the description is no place for one", "take it out: nodes get their secrets in their bundles"),
		failure("config-owned", "options that follow from the description, or that clusters rely on, are left alone", "%q is not free: it follows from the rest of the description, or the clusters rely on it", "take it out"),
		failure("config-many", "config: has an end", "there are %d options with %d bytes, more than %d or %d", "leave out what is as by default"),
	}
}

// oslo are sections that all OpenStack services have, by the libraries that
// they share.
func oslo() []string {
	return []string{
		"DEFAULT", "cache", "cors", "database", "healthcheck", "keystone_authtoken", "oslo_concurrency", "oslo_limit",
		"oslo_messaging_kafka", "oslo_messaging_notifications", "oslo_messaging_rabbit", "oslo_middleware",
		"oslo_policy", "oslo_reports", "paste_deploy", "privsep", "profiler", "service_user", "ssl",
	}
}

// Configurable are the services whose options the images take: a template of
// theirs in overlays/ ends with {{options "NAME"}}.
func Configurable() []string { return []string{"keystone", "mariadb"} }

// configServices are the services whose options are in sections, with those
// sections, as far as they are known; * stands for any ending.
func configServices() map[string][]string {
	nova := append(oslo(), "api", "api_database", "barbican", "barbican_service_user", "cinder", "compute", "conductor", "console",
		"consoleauth", "cyborg", "devices", "ephemeral_storage_encryption", "filter_scheduler", "glance", "guestfs", "image_cache",
		"ironic", "key_manager", "keystone", "libvirt", "metrics", "mks", "neutron", "notifications", "os_vif_ovs", "pci", "placement",
		"quota", "remote_debug", "scheduler", "serial_console", "spice", "upgrade_levels", "vault", "vendordata_dynamic_auth",
		"vif_plug_*", "vmware", "vnc", "workarounds", "wsgi", "zvm")
	neutron := append(oslo(), "QUOTAS", "agent", "experimental", "ironic", "ml2", "ml2_type_*", "nova", "ovn", "ovn_nb_global", "ovs",
		"placement", "quotas", "securitygroup", "service_providers")
	swift := []string{"DEFAULT", "account-*", "app:*", "container-*", "filter:*", "object-*", "pipeline:main"}
	return map[string][]string{
		"glance": append(oslo(), "barbican", "barbican_service_user", "glance_store", "image_format", "image_import_opts", "import_filtering_opts",
			"inject_metadata_properties", "key_manager", "os_brick", "os_glance_*", "task", "taskflow_executor", "vault", "wsgi"),
		"keystone": append(oslo(), "application_credential", "assignment", "auth", "catalog", "credential", "domain_config", "endpoint_filter",
			"endpoint_policy", "federation", "fernet_receipts", "fernet_tokens", "identity", "identity_mapping", "jwt_tokens", "ldap", "mapped",
			"memcache", "oauth1", "oauth2", "policy", "receipt", "resource", "revoke", "role", "saml", "security_compliance", "shadow_users",
			"token", "tokenless_auth", "totp", "trust", "unified_limit", "wsgi"),
		"mariadb":                    {"client", "galera", "mariadb", "mariadbd", "mysqld", "mysqld_safe", "server", "sst"},
		"neutron":                    neutron,
		"neutron-ovn-metadata-agent": neutron,
		"nova-api":                   nova,
		"nova-compute":               nova,
		"nova-conductor":             nova,
		"nova-scheduler":             nova,
		"novnc":                      nova,
		"placement":                  append(oslo(), "api", "placement", "placement_database"),
		"swift-account":              swift,
		"swift-container":            swift,
		"swift-object":               swift,
		"swift-proxy":                swift,
	}
}

// config reads the free-form options.
func (k *checker) config() {
	known := configServices()
	names := Configurable()
	total, size := 0, 0
	for _, service := range slices.Sorted(maps.Keys(k.file.Config)) {
		sections := k.file.Config[service]
		path := "config." + service
		if known[service] == nil {
			k.say("config-service", path, service, didYouMean(service, names), strings.Join(names, ", "))
			continue
		}
		if !slices.Contains(names, service) {
			k.say("config-untaken", path, service, strings.Join(names, ", "))
			continue
		}
		for _, section := range slices.Sorted(maps.Keys(sections)) {
			if !sectionName.MatchString(section) {
				k.say("config-form", path+"."+section, "this is no name of a section")
				continue
			}
			if !hasSection(known[service], section) {
				k.say("config-section", path+"."+section, service, section, didYouMean(section, known[service]))
			}
			for _, option := range slices.Sorted(maps.Keys(sections[section])) {
				total++
				size += len(sections[section][option])
				k.option(path+"."+section+"."+option, service, section, option, string(sections[section][option]))
			}
		}
	}
	if total > maxConfigOptions || size > maxConfig {
		k.say("config-many", "config", total, size, maxConfigOptions, maxConfig)
	}
}

func hasSection(known []string, section string) bool {
	return slices.ContainsFunc(known, func(s string) bool {
		stem, any := strings.CutSuffix(s, "*")
		return s == section || any && strings.HasPrefix(section, stem)
	})
}

// control answers whether a letter would break a line or a terminal.
func control(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

func (k *checker) option(path, service, section, option, value string) {
	switch {
	case !optionName.MatchString(option):
		k.say("config-form", path, "this is no name of an option")
	case !utf8.ValidString(value) || strings.ContainsFunc(value, control):
		k.say("config-form", path, "the value has a line break or another control character")
	case value != strings.TrimSpace(value):
		k.say("config-form", path, "the value begins or ends with a space, which no service would see")
	case len(value) > maxConfigValue:
		k.say("config-form", path, "the value is too long")
	case secretName.MatchString(option) || secretValue.MatchString(value):
		k.say("config-secret", path)
	case owned(service, option):
		k.say("config-owned", path, option)
	default:
		c := &k.cloud.Config
		if *c == nil {
			*c = map[string]map[string]map[string]string{}
		}
		if (*c)[service] == nil {
			(*c)[service] = map[string]map[string]string{}
		}
		if (*c)[service][section] == nil {
			(*c)[service][section] = map[string]string{}
		}
		(*c)[service][section][option] = value
	}
}
