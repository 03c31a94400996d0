# Runs in the tree of the image, over its packages and overlays.

# Units start at boot by the presets of the overlays, and by nothing else.
systemctl preset-all
systemctl --global preset-all

# Identities and secrets that installing made. Each node makes its own.
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/hostname
rm -f /var/lib/rabbitmq/.erlang.cookie /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/private/ssl-cert-snakeoil.key
rm -f /etc/openvswitch/conf.db /etc/openvswitch/.conf.db.~lock~ /etc/openvswitch/system-id.conf
rm -f /var/lib/openvswitch/*.db /var/lib/nova/compute_id
rm -rf /var/lib/mysql/* /var/lib/rabbitmq/mnesia /etc/keystone/fernet-keys /etc/keystone/credential-keys
rm -rf /var/lib/openstack-dashboard/secret-key /var/lib/openstack-dashboard/.secret_key_store
rm -rf /var/lib/libvirt/qemu/*.key /var/lib/libvirt/secrets/* /etc/libvirt/secrets/*
# 128-bit identities written on one line each (machine-id(5), initramfs RESUME)
echo uninitialized >/etc/machine-id
chmod 0444 /etc/machine-id
rm -f /etc/initramfs-tools/conf.d/resume

# What only a package manager needs, and what differs from run to run.
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/cache/debconf/*-old
rm -f /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache

# /etc/swift/backups of Debian's packages is a link to here.
mkdir -p /var/backups
[ ! -L /etc/swift/backups ] || install -d -o swift -g swift /var/backups/swift

# Mount points of the node.
mkdir -p /efi /sysroot /var/lib/trivet
chmod 0700 /var/lib/trivet

# /var is a partition of the node: what the packages made there is kept apart,
# to fill one that lacks it.
mkdir -p /usr/share/factory /usr/lib/tmpfiles.d
cp -a /var /usr/share/factory/
find /var -mindepth 1 -delete
