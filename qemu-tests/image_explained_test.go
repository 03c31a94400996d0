package qemutests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// differences are all ways in which the controller's image differs from the
// tree that mmdebstrap makes of the same packages, beside the overlays. The
// package comment of builder/rootfs says the same in prose.
func differences() []explanation {
	return slices.Concat(startDifferences(), identityDifferences(), leftoverDifferences(), builderDifferences(), orderDifferences())
}

// startDifferences: presets decide what starts.
func startDifferences() []explanation {
	return []explanation{
		{what: onlyTheirs, paths: []string{"etc/rc?.d/*"}, why: "services ship disabled; update-rc.d makes no links"},
		{what: onlyTheirs, paths: []string{"etc/systemd/system/**"}, why: "services ship disabled; deb-systemd-helper makes no links"},
		{what: onlyTheirs, paths: []string{"var/lib/systemd/deb-systemd-helper-enabled/**", "var/lib/systemd/deb-systemd-user-helper-enabled/**"}, why: "notes of deb-systemd-helper"},
		{what: onlyOurs, paths: []string{"etc/systemd/system/*.wants/**", "etc/systemd/user/*.wants/**", "etc/systemd/system/dbus-*.service"}, why: "links that the presets make"},
		{what: otherTarget, paths: []string{"etc/systemd/system/*.wants/*"}, why: "the presets' link has /usr/lib where deb-systemd-helper's has /lib"},
	}
}

// identityDifferences: what makes a machine somebody is made on the machine.
func identityDifferences() []explanation {
	return []explanation{
		{what: onlyTheirs, paths: []string{"etc/ssh/ssh_host_*"}, why: "host keys"},
		{what: onlyTheirs, paths: []string{"etc/iscsi/initiatorname.iscsi"}, why: "the machine's name to iSCSI"},
		{what: onlyTheirs, paths: []string{"var/lib/mysql/*/**"}, why: "databases"},
		{what: onlyTheirs, paths: []string{"var/lib/rabbitmq/.erlang.cookie"}, why: "RabbitMQ's shared secret"},
		{what: onlyTheirs, paths: []string{"var/lib/openstack-dashboard/secret-key/*"}, why: "the lock of the dashboard's key"},
		{what: otherContent, paths: []string{"etc/machine-id"}, why: "systemd's word for an image that never booted", same: ours("uninitialized\n")},
		{
			what: otherContent, paths: []string{"etc/nova/nova.conf"}, why: "127.0.0.1 where a script asked for the host's own address",
			same: sameBut(`(?m)^my_ip = .*$`),
		},
		{
			what: otherContent, paths: []string{"etc/openstack-dashboard/local_settings.py"}, why: "localhost where a script asked for the host's own name",
			same: sameBut(`(?m)^ALLOWED_HOSTS = .*$`),
		},
		{what: otherContent, paths: []string{"etc/hosts"}, why: "made for those scripts"},
	}
}

// leftoverDifferences: locks, logs, backups, caches.
func leftoverDifferences() []explanation {
	return []explanation{
		{what: onlyTheirs, paths: []string{"boot/initrd.img-*", "initrd.img", "initrd.img.old"}, why: "the image's initrd is trivet's own"},
		{what: onlyTheirs, paths: []string{"etc/.pwd.lock", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-"}, why: "lock and backups of the shadow tools"},
		{what: onlyTheirs, paths: []string{"var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock", "var/lib/dpkg/triggers/Unincorp"}, why: "locks and backups of dpkg"},
		{what: onlyTheirs, paths: []string{"var/lib/sgml-base/supercatalog.old", "var/log/fontconfig.log"}, why: "a backup, a log"},
		{
			what: onlyTheirs, paths: []string{"var/cache/apt/**", "var/lib/apt/**", "var/log/apt/**", "var/cache/debconf/**", "var/lib/ucf/**", "var/lib/pam/**"},
			why: "what only installing packages uses is not brought to a machine's /var",
		},
		{
			what: onlyTheirs, paths: []string{"var/cache/ldconfig/**", "var/cache/dbconfig-common/**", "var/log/dbconfig-common/**", "var/log/README", "var/cache/adduser"},
			why: "what only installing packages uses is not brought to a machine's /var",
		},
		{what: onlyTheirs, paths: []string{"var/cache/fontconfig/*"}, why: "font caches are made when they are missing"},
		{what: onlyTheirs, paths: []string{"usr/lib/python3/dist-packages/**/tests/**/__pycache__/**"}, why: "test suites are not compiled"},
		{
			what: onlyTheirs, why: "byte code of links",
			paths: []string{
				"usr/lib/python3.*/__pycache__/_sysconfigdata__*.pyc", "usr/lib/python3.*/__pycache__/sitecustomize.*.pyc",
				"usr/lib/python3/dist-packages/openstack_dashboard/local/__pycache__/local_settings.*.pyc",
			},
		},
		{what: onlyTheirs, paths: []string{"run/**"}, why: "made by scripts; a machine's /run is empty at first"},
		{
			what: onlyTheirs, maybe: true, why: "what mmdebstrap itself writes",
			paths: []string{"dev/*", "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/fstab", "etc/hostname"},
		},
		{what: onlyTheirs, maybe: true, paths: []string{"etc/.resolv.conf.systemd-resolved.bak"}, why: "mmdebstrap brings the host's resolv.conf"},
	}
}

// builderDifferences: what the builder adds and does.
func builderDifferences() []explanation {
	return []explanation{
		{what: onlyOurs, paths: []string{"usr/bin/trivet-agent", "usr/share/trivet/**"}, why: "the agent and its role"},
		{what: onlyOurs, paths: []string{"usr/lib/repart.d/**"}, why: "the partitions for systemd-repart"},
		{what: onlyOurs, paths: []string{"usr/lib/systemd/system-preset/99-zz-trivet-default.preset"}, why: "the preset that keeps services off"},
		{what: onlyOurs, paths: []string{"usr/lib/tmpfiles.d/trivet-var.conf", "usr/share/factory"}, why: "what fills an empty /var"},
		{what: onlyOurs, paths: []string{"etc/dpkg/dpkg.cfg.d/trivet"}, why: "what the image is built without, for a dpkg in it"},
		{what: otherContent, paths: []string{"usr/lib/os-release"}, why: "it names the image, too", same: begins},
		{what: otherTime, paths: []string{"usr/lib/os-release"}, why: "it names the image, too"},
		{what: otherTime, paths: []string{"var/lib/ieee-data/*"}, why: "links below /var are made anew in the factory"},
		{what: otherAttr, paths: []string{"var/log/journal"}, why: "squashfs keeps no ACLs; systemd-tmpfiles sets them at each boot"},
	}
}

// orderDifferences: the same in another order.
func orderDifferences() []explanation {
	return []explanation{
		{what: otherContent, paths: []string{"etc/shadow"}, why: "passwords are as old as the archive, not as the build", same: sameBut(`(?m)^([^:]*:[^:]*:)\d+`)},
		{what: otherContent, paths: []string{"var/lib/dpkg/triggers/File"}, why: "sorted", same: sameLines},
		{what: otherContent, paths: []string{"var/lib/openstack-dashboard/static/dashboard/manifest.json"}, why: "sorted", same: sameJSON},
		{what: onlyOurs, paths: []string{"etc/apparmor.d/local/usr.bin.keystone-all"}, why: "conffiles are there before other packages' scripts run"},
		{what: otherTime, paths: []string{"usr/bin/pager"}, why: "update-alternatives dates a link as the first program that it was for"},
	}
}

// ours wants exactly this text in the image.
func ours(want string) func(ours, theirs []byte) error {
	return func(ours, _ []byte) error {
		if string(ours) != want {
			return fmt.Errorf("the image has %q, want %q", ours, want)
		}
		return nil
	}
}

// begins wants the image's file to go on where mmdebstrap's ends.
func begins(ours, theirs []byte) error {
	if !bytes.HasPrefix(ours, theirs) {
		return fmt.Errorf("the image's does not begin with mmdebstrap's")
	}
	return nil
}

// sameLines wants the same lines, in whatever order.
func sameLines(ours, theirs []byte) error {
	a, b := lineSet(ours), lineSet(theirs)
	var off []string
	for line, n := range a {
		if b[line] != n {
			off = append(off, "only the image: "+line)
		}
	}
	for line, n := range b {
		if a[line] != n {
			off = append(off, "only mmdebstrap: "+line)
		}
	}
	if len(off) > 0 {
		slices.Sort(off)
		return fmt.Errorf("lines differ:\n%s", strings.Join(off[:min(len(off), 40)], "\n"))
	}
	return nil
}

func lineSet(text []byte) map[string]int {
	set := map[string]int{}
	for line := range strings.Lines(string(text)) {
		set[line]++
	}
	return set
}

// sameBut wants the same text but for what the pattern matches.
func sameBut(pattern string) func(ours, theirs []byte) error {
	may := regexp.MustCompile(pattern)
	return func(ours, theirs []byte) error {
		a, b := may.ReplaceAll(ours, []byte("$1")), may.ReplaceAll(theirs, []byte("$1"))
		return sameLines(a, b)
	}
}

// sameJSON wants the same values.
func sameJSON(ours, theirs []byte) error {
	var a, b any
	if err := errors.Join(json.Unmarshal(ours, &a), json.Unmarshal(theirs, &b)); err != nil {
		return err
	}
	if diff := cmp.Diff(b, a); diff != "" {
		return fmt.Errorf("values (-mmdebstrap +image):\n%s", diff)
	}
	return nil
}
