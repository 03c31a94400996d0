package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"trivet/firstboot/host"
	"trivet/roles"
)

// checkTimeout bounds one look at a service.
const checkTimeout = 5 * time.Second

// A Down is a unit that does not run: a fact, where a probe that got no answer
// may have been unlucky.
type Down struct{ Unit, State string }

func (d Down) Error() string { return d.Unit + " is " + d.State }

// Check returns nil if the check passes, else what is wrong.
func Check(ctx context.Context, env Env, c roles.Check) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	fill := strings.NewReplacer("{node}", env.Node.Address.Addr().String(), "{vip}", env.Node.VIP.Addr().String())
	switch {
	case c.Unit != "":
		state, err := host.UnitState(ctx, env.Host, c.Unit)
		if err == nil && state != "active" {
			err = Down{c.Unit, state}
		}
		return err
	case c.HTTP != "":
		return checkHTTP(ctx, fill.Replace(c.HTTP))
	case c.TCP != "":
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", fill.Replace(c.TCP))
		if err != nil {
			return err // names the address
		}
		return conn.Close()
	case len(c.Run) > 0:
		_, err := env.Run(ctx, host.Command{Args: c.Run, Timeout: checkTimeout})
		return err
	}
	return errors.New("the check is empty")
}

// checkHTTP asks without a proxy and takes no redirect for a yes.
func checkHTTP(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return err // names the URL
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answers %s", url, res.Status)
	}
	return nil
}

// Healthy returns nil if all checks of the service pass.
func Healthy(ctx context.Context, env Env) error {
	for _, c := range env.Service.Health {
		if err := Check(ctx, env, c); err != nil {
			return fmt.Errorf("%s is not healthy: %w", env.Service.Name, err)
		}
	}
	return nil
}

// healthyTimeout bounds the wait of a service that was started. A uwsgi worker
// imports for ten seconds on a slow core, for minutes on an emulated one.
const healthyTimeout = 10 * time.Minute

// Up brings env.Service up: by its step if it names one, else by starting its
// units; and waits until it is healthy.
func Up(ctx context.Context, env Env) error {
	if err := bring(ctx, env); err != nil {
		return err
	}
	return until(ctx, healthyTimeout, 250*time.Millisecond, func(ctx context.Context) error {
		return Healthy(ctx, env)
	})
}

func bring(ctx context.Context, env Env) error {
	if env.Service.Join == "" {
		return env.Start(ctx)
	}
	for _, s := range All() {
		if s.Name != env.Service.Join {
			continue
		}
		done, err := s.Done(ctx, env)
		if err != nil {
			return fmt.Errorf("look whether %s is up: %w", s.Name, err)
		}
		if done {
			return nil
		}
		return s.Do(ctx, env)
	}
	return fmt.Errorf("the role names the step %q, which this agent does not have", env.Service.Join)
}

// Stop stops the units of a service that run and do not work, the last one
// first, unless its step judges that itself.
func Stop(ctx context.Context, env Env) error {
	for _, s := range All() {
		if s.Name == env.Service.Join && s.Judges {
			return nil
		}
	}
	for _, unit := range slices.Backward(env.Service.Units) {
		if err := host.StopUnit(ctx, env.Host, unit); err != nil {
			return fmt.Errorf("stop %s, which does not work: %w", env.Service.Name, err)
		}
	}
	return nil
}

// Tell returns what this node answers when another controller asks about a step.
func Tell(ctx context.Context, env Env, step string) ([]byte, error) {
	for _, s := range All() {
		if s.Name != step || s.Tell == nil {
			continue
		}
		for _, service := range env.Role.Services {
			if service.Join == step {
				env.Service = service
				return s.Tell(ctx, env)
			}
		}
	}
	return nil, fmt.Errorf("this node has nothing to tell of %q", step)
}
