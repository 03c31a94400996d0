package cloud

import (
	"slices"
	"strings"
)

// owned answers whether an option of a service is one that a template fills in
// from the description, or that Trivet relies on, so that nobody may set it
// beside the description.
func owned(service, option string) bool {
	if service == "mariadb" {
		return ownedByMariaDB(option)
	}
	return slices.Contains(ownedByOslo(), option)
}

// ownedByOslo are options of OpenStack's services, in whatever section.
func ownedByOslo() []string {
	return []string{
		"auth_url", "bind_host", "bind_ip", "bind_port", "connection", "key_repository", "lock_path", "memcache_servers", "memcached_servers",
		"my_ip", "provider", "region_name", "slave_connection", "transport_url", "www_authenticate_uri",
	}
}

// ownedByMariaDB takes an option for what MariaDB takes it for: - is as good as
// _, a prefix such as loose- changes nothing, and so does leaving out the end of
// a name, as long as no other begins like it.
func ownedByMariaDB(option string) bool {
	option = strings.ReplaceAll(strings.ToLower(option), "-", "_")
	for _, modifier := range []string{"loose_", "enable_", "disable_", "skip_", "maximum_"} {
		option = strings.TrimPrefix(option, modifier)
	}
	if strings.HasPrefix(option, "wsrep") || strings.HasPrefix(option, "ssl") {
		return true
	}
	return slices.ContainsFunc(mariadbNames(), func(name string) bool { return len(option) > 3 && strings.HasPrefix(name, option) || name == option })
}

// mariadbNames are where the database is and who reaches it, what Galera demands,
// what `settings:` says, and what protects state transfers ([sst]). Those that
// begin with skip_ stand without it.
func mariadbNames() []string {
	return []string{
		"bind_address", "port", "socket", "datadir", "user", "pid_file", "networking", "name_resolve",
		"binlog_format", "default_storage_engine", "innodb_autoinc_lock_mode", "log_bin",
		"innodb_buffer_pool_size", "max_connections",
		"encrypt", "tca", "tcert", "tkey", "streamfmt", "sockopt",
	}
}
