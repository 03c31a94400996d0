package rootfs

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
)

// A late command is one that maintainer scripts call several times over, each
// time to make the same thing of everything that is there. While packages are
// configured it only leaves a note; it runs once, when all is in place.
type lateCommand struct {
	path   string // of the program
	script string // what to run in the end
	reason string
}

func lateCommands() []lateCommand {
	return []lateCommand{
		{
			path: "usr/sbin/update-ca-certificates", script: "update-ca-certificates",
			reason: "runs in the postinst and again as its own trigger",
		},
		{
			path: "usr/share/openstack-dashboard/manage.py",
			script: "/usr/share/openstack-dashboard/manage.py collectstatic --noinput --clear --verbosity 0\n" +
				"/usr/share/openstack-dashboard/manage.py compress --force --verbosity 0\n" +
				// The compressor writes its manifest in the order in which its threads end.
				"python3 -c 'import json, sys; p = sys.argv[1]; m = json.load(open(p)); json.dump(m, open(p, \"w\"), indent=4, sort_keys=True)' /var/lib/openstack-dashboard/static/dashboard/manifest.json\n" +
				"chown -R www-data /var/lib/openstack-dashboard/static\n",
			reason: "the dashboard's postinst and its trigger both rebuild all static files, before its own byte code is there",
		},
	}
}

// lateTarget is where a command that is put off leaves its note.
const lateTarget = "/run/trivet-late"

// late runs what was put off, in the folded tree dir.
func (b *build) late(ctx context.Context, dir string) error {
	var script strings.Builder
	for _, c := range lateCommands() {
		_, err := os.Lstat(b.path("late/" + path.Base(c.path)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		script.WriteString(c.script + "\n")
	}
	if script.Len() == 0 {
		return nil
	}
	defer b.clock("late")()
	const what = "run what the packages' scripts put off"
	if err := b.shell(ctx, what, append(b.stack(), dir), "after", script.String(), standIns()); err != nil {
		return err
	}
	return b.fold([]string{dir, b.path("after")})
}
