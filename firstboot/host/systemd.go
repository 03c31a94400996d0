package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// unitTimeout is above TimeoutStartSec of every unit that Debian ships for us
// (900 s for mariadb.service): systemd's own limit says more about the cause.
const unitTimeout = 16 * time.Minute

// StartUnit starts units and waits until systemd calls them started. It forgets
// earlier failures first, so that the start limit of a bad past does not hold.
func StartUnit(ctx context.Context, r Runner, units ...string) error {
	for _, unit := range units {
		// A unit that never ran has nothing to forget, which is an error to systemctl.
		_, _ = r.Run(ctx, Command{Args: []string{"systemctl", "reset-failed", unit}})
		if _, err := r.Run(ctx, Command{Args: []string{"systemctl", "start", unit}, Timeout: unitTimeout}); err != nil {
			return fmt.Errorf("start %s: %w", unit, withJournal(ctx, r, unit, err))
		}
	}
	return nil
}

// StopUnit stops a unit and waits until it is gone.
func StopUnit(ctx context.Context, r Runner, unit string) error {
	if _, err := r.Run(ctx, Command{Args: []string{"systemctl", "stop", unit}, Timeout: unitTimeout}); err != nil {
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	return nil
}

// UnitState returns systemd's word for a unit: active, activating, failed, …
func UnitState(ctx context.Context, r Runner, unit string) (string, error) {
	out, err := r.Run(ctx, Command{Args: []string{"systemctl", "show", "--property=ActiveState", "--value", unit}})
	if err != nil {
		return "", fmt.Errorf("ask for the state of %s: %w", unit, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// withJournal adds the unit's own last words to the error of its start.
func withJournal(ctx context.Context, r Runner, unit string, err error) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		return err
	}
	out, jerr := r.Run(ctx, Command{Args: []string{"journalctl", "--no-pager", "--boot", "--lines=5", "--output=cat", "--unit", unit}, Timeout: 20 * time.Second})
	if words := lastLines(out, 5); jerr == nil && words != "" {
		return fmt.Errorf("%w; its journal ends: %s", err, words)
	}
	return err
}
