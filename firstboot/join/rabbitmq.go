package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Paths of the message queue.
const (
	rabbitHome = "/var/lib/rabbitmq"
	// rabbitFormed is made when the queue first ran. Until then its folder holds
	// nothing that anybody was promised.
	rabbitFormed = "/var/lib/trivet/formed/rabbitmq"
)

func rabbitmq() Step {
	return Step{
		Name: "rabbitmq",
		Done: func(ctx context.Context, env Env) (bool, error) { return env.Active(ctx) },
		Do:   rabbitStart,
	}
}

func rabbitStart(ctx context.Context, env Env) error {
	if err := writeCookie(env); err != nil {
		return err
	}
	_, err := os.Stat(env.Path(rabbitFormed))
	formed := err == nil
	if err := env.Start(ctx); err != nil {
		if formed {
			return err
		}
		// A power cut in the middle of the first start leaves half a schema,
		// which no later start mends.
		env.Report("the queue never ran and does not start; it begins anew (%v)", err)
		if err := setAside(env); err != nil {
			return err
		}
		if err := env.Start(ctx); err != nil {
			return err
		}
	}
	if formed {
		return nil
	}
	return env.WriteFile(rabbitFormed, nil, 0o600, "", "")
}

// writeCookie writes the word by which Erlang nodes trust each other. Debian's
// package makes one when it is installed, the same in every image.
func writeCookie(env Env) error {
	cookie, err := env.Secret("rabbitmq/cookie")
	if err != nil {
		return err
	}
	return env.WriteFile(rabbitHome+"/.erlang.cookie", []byte(cookie.Reveal()), 0o400, "rabbitmq", "rabbitmq")
}

// setAside renames the queue's data, over what was set aside before.
func setAside(env Env) error {
	from, to := env.Path(rabbitHome+"/mnesia"), env.Path(rabbitHome+"/mnesia.aside")
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the queue's data aside: %w", err)
	}
	return nil
}
