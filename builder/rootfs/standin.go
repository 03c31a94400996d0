package rootfs

import (
	"path"
	"path/filepath"
	"strings"

	"trivet/builder/host"
)

// A standIn is a program that is covered by another while packages are
// configured, with a bind mount in the sandbox where the tree has it, so that
// nothing of it stays in the image.
type standIn struct {
	path   string
	with   string // file of the folder inside
	reason string
}

// standIns are the programs that do nothing while an image is built.
func standIns() []standIn {
	return []standIn{
		{"usr/sbin/invoke-rc.d", nothing, "starts daemons; with it out of the way no policy-rc.d is needed"},
		{"usr/sbin/service", nothing, "starts daemons"},
		{"usr/sbin/start-stop-daemon", nothing, "starts daemons"},
		{"usr/sbin/update-rc.d", nothing, "services ship disabled; presets decide"},
		{"usr/bin/deb-systemd-helper", nothing, "services ship disabled; presets decide"},
		{"usr/bin/deb-systemd-invoke", nothing, "starts daemons"},
		{"usr/lib/runit-helper/runit-helper", nothing, "services ship disabled, also for an init that is not there"},
		{"usr/bin/py3compile", nothing, "byte code is made once, in parallel and the same every time"},
		{"usr/bin/py3clean", nothing, "there is nothing to clean in a new tree"},
		{"usr/sbin/depmod", nothing, "runs beside dpkg and not in its way"},
		{"usr/sbin/update-initramfs", nothing, "the initrd is trivet's own"},
		{"usr/bin/fc-cache", nothing, "font caches are made when they are missing"},
		{"usr/bin/mandb", nothing, "there are no manual pages"},
		{"usr/bin/ssh-keygen", nothing, "host keys are made on the machine"},
		{"usr/sbin/make-ssl-cert", nothing, "certificates are made on the machine"},
		{"usr/bin/mariadb-install-db", nothing, "databases are made on the machine"},
		{"etc/hosts", "hosts", "scripts that ask for the host's full name must get an answer"},
	}
}

const nothing = "nothing.sh"

// whileConfiguring are the stand-ins for dpkg's run on the tree v: besides the
// table, the commands that run late, and the compiler that python3.N-minimal's
// postinst uses on the standard library.
func whileConfiguring(v *view) ([]standIn, error) {
	list := standIns()
	for _, c := range lateCommands() {
		list = append(list, standIn{c.path, "later.sh", c.reason})
	}
	libs, err := v.list("usr/lib")
	for _, lib := range libs {
		if strings.HasPrefix(lib, "python3.") {
			list = append(list, standIn{path.Join("usr/lib", lib, "py_compile.py"), "py_compile.py", "as py3compile"})
		}
	}
	return list, err
}

// covers are the bind mounts for the stand-ins of programs that v has.
func (b *build) covers(v *view, list []standIn) ([]host.Mount, error) {
	var mounts []host.Mount
	for _, s := range list {
		n, err := v.follow(s.path)
		if err != nil {
			return nil, err
		}
		if n.kind == kindFile {
			mounts = append(mounts, host.Mount{Target: "/" + s.path, Layers: []string{filepath.Join(b.path("tools"), s.with)}})
		}
	}
	return mounts, nil
}
