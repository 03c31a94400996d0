// Package rootfs makes root directories from Debian packages: it unpacks them,
// runs their maintainer scripts with the dpkg that is among them, compiles
// their Python, and leaves each result as one layer of an overlay.
//
// The way of the data:
//
//	.deb ─► store (each package decompressed once: flat files + a list of paths)
//	store ─► plan (who puts what where; dpkg's rules on conflicts, Replaces, diversions)
//	plan ─► a directory of hard links into the store, and dpkg's database
//	       ─► preinst, dpkg --configure in a sandbox   ┐ at the same time
//	       ─► Python byte code, kept by package; depmod ┘
//	       ─► one directory with fixed times: the layer, kept by its inputs
//	layers ─► Factory: /var moves to where a machine's empty /var is filled from
//	       ─► Finish: overlay files, presets, the check for secrets
//
// A name in a package never reaches the file system on its own: the store
// writes numbered files, and the plan resolves every path in memory, symbolic
// links included, before the first directory is made. Symbolic links are laid
// last, so nothing is ever written through one. After scripts have run, the
// tree is touched only through os.Root or by the sandbox.
//
// # What differs from a tree that apt makes of the same packages
//
// Beside a tree of mmdebstrap with the same path-excludes, an image
//
//   - has no rcN.d links, no links in /etc/systemd for services, no state of
//     deb-systemd-helper and no runit links: presets decide what starts;
//   - has none of volatilePaths: logs, locks, backups, identities, keys; no
//     initramfs, no databases below /var/lib/mysql, no font caches;
//   - has no byte code of test suites (see compileTests) and of two links in
//     the standard library;
//   - has pinned users where Inputs.Pinned names them; a home that adduser
//     would have made for one comes by tmpfiles.d;
//   - has an /etc/hosts, and 127.0.0.1 or localhost where a script asked for the
//     host's own address or name (my_ip in nova.conf, ALLOWED_HOSTS in horizon's
//     local_settings.py, which has no byte code);
//   - has an empty /run, and no ACL on /var/log/journal, which squashfs cannot
//     hold and systemd-tmpfiles sets at each boot;
//   - dates /usr/bin/pager and links below /var otherwise;
//   - has an empty apparmor.d/local/usr.bin.keystone-all: conffiles are in
//     place before the scripts of other packages run, where dpkg would still
//     have them as .dpkg-new;
//   - sorts dpkg's status and some generated lists; no directory has another
//     time than the epoch.
//
// All other files, owners, modes and dpkg's status are the same.
package rootfs
