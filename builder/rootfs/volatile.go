package rootfs

// volatilePaths are left behind by configuring and differ from run to run, or
// hold what only a running machine may have. Patterns as in path.Match, from
// the root. Layers go without them, so that a layer of the same packages is
// always the same.
func volatilePaths() []string {
	return []string{
		// dpkg, debconf, apt, shadow: locks, logs and yesterday's copies
		"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/lib/dpkg/triggers/Unincorp",
		"var/lib/dpkg/updates/*", "var/lib/dpkg/*-old", "var/lib/dpkg/tmp.ci",
		"var/cache/debconf/*-old", "var/cache/debconf/passwords.dat",
		"var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/apt/*", "var/log/fontconfig.log",
		"var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/cache/apt/archives/*",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
		"var/lib/ucf/*.[0-9]", "var/lib/sgml-base/*.old", "var/lib/xml-core/*.old",
		// what a provider of linux-initramfs-tool makes: the image's initrd is Trivet's own
		"boot/initrd.img-*", "initrd.img", "initrd.img.old",
		// caches made anew when missing
		"var/cache/ldconfig/aux-cache", "root/.cache", "root/.wget-hsts", "root/.bash_history",
		// identities and secrets
		"etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/dbus/machine-id",
		"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
		"etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem",
		"var/lib/rabbitmq/.erlang.cookie", "var/lib/rabbitmq/mnesia/*",
		"var/lib/mysql/*", "var/lib/mysql/.*",
		"etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn",
		"etc/openvswitch/system-id.conf", "etc/openvswitch/conf.db", "var/lib/openvswitch/*", "var/lib/ovn/*",
		"etc/keystone/fernet-keys/*", "etc/keystone/credential-keys/*",
		"var/lib/openstack-dashboard/secret-key/*", "var/lib/openstack-dashboard/secret_key",
		"var/lib/nova/compute_id", "etc/libvirt/secrets/*", "var/lib/libvirt/secrets/*",
		"etc/munge/munge.key",
	}
}
