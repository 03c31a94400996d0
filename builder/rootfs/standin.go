package rootfs

import (
	"path"
	"path/filepath"
	"strings"

	"trivet/builder/host"
)

// standIns are the programs that do nothing while packages are configured, and
// why. Each is covered by a bind mount in the sandbox where the tree has it, so
// that nothing of it stays in the image.
func standIns() []struct{ path, reason string } {
	return []struct{ path, reason string }{
		{"usr/sbin/invoke-rc.d", "starts daemons; with it out of the way no policy-rc.d is needed"},
		{"usr/sbin/start-stop-daemon", "starts daemons"},
		{"usr/sbin/update-rc.d", "services ship disabled; presets decide"},
		{"usr/bin/deb-systemd-helper", "services ship disabled; presets decide"},
		{"usr/bin/deb-systemd-invoke", "starts daemons"},
		{"usr/bin/py3compile", "byte code is made once, in parallel and the same every time"},
		{"usr/bin/py3clean", "there is nothing to clean in a new tree"},
		{"usr/sbin/update-initramfs", "the initrd is trivet's own"},
		{"usr/bin/mandb", "there are no manual pages"},
		{"usr/bin/ssh-keygen", "host keys are made on the machine"},
		{"usr/sbin/make-ssl-cert", "certificates are made on the machine"},
		{"usr/bin/mariadb-install-db", "databases are made on the machine"},
	}
}

// standIns are the bind mounts of the table for the tree v.
func (b *build) standIns(v *view) ([]host.Mount, error) {
	var mounts []host.Mount
	cover := func(name, with string) error {
		n, err := v.follow(name)
		if err != nil || n.kind != kindFile {
			return err
		}
		mounts = append(mounts, host.Mount{Target: "/" + name, Layers: []string{filepath.Join(b.path("tools"), with)}})
		return nil
	}
	for _, s := range standIns() {
		if err := cover(s.path, "nothing.sh"); err != nil {
			return nil, err
		}
	}
	libs, err := v.list("usr/lib")
	if err != nil {
		return nil, err
	}
	for _, lib := range libs {
		// python3.N-minimal's postinst compiles the standard library itself.
		if strings.HasPrefix(lib, "python3.") {
			if err := cover(path.Join("usr/lib", lib, "py_compile.py"), "py_compile.py"); err != nil {
				return nil, err
			}
		}
	}
	return mounts, nil
}
