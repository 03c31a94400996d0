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
//	       ─► Python byte code, kept by package        ┘
//	       ─► one directory with fixed times: the layer, kept by its inputs
//
// A name in a package never reaches the file system on its own: the store
// writes numbered files, and the plan resolves every path in memory, symbolic
// links included, before the first directory is made. Symbolic links are laid
// last, so nothing is ever written through one.
package rootfs
