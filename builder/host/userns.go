package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// rootedMark says in the environment that this process was already moved into
// a user namespace, so that a namespace that does not make us root ends in an
// error and not in a loop.
const rootedMark = "TRIVET_IN_USERNS"

// BecomeRoot makes an ordinary user root of a user namespace with the user's
// sub-ids (subuid(5)), by running this program again under unshare(1). For
// root it does nothing. It returns only when there is nothing to do or with an
// error that says what the host lacks.
func BecomeRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	if os.Getenv(rootedMark) != "" {
		return errors.New("become root of a user namespace: still not root there; run trivet as root")
	}
	unshare, err := Look("unshare")
	if err != nil {
		return fmt.Errorf("become root of a user namespace: %w; install util-linux or run trivet as root", err)
	}
	if _, err := Look("newuidmap"); err != nil {
		return fmt.Errorf("become root of a user namespace: %w; install the package uidmap or run trivet as root", err)
	}
	path, err := self()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--user", "--map-root-user", "--map-auto", "--", path}, os.Args[1:]...)
	if err := syscall.Exec(unshare, args, append(os.Environ(), rootedMark+"=1")); err != nil {
		return fmt.Errorf("become root of a user namespace: run %s: %w", unshare, err)
	}
	return nil
}
