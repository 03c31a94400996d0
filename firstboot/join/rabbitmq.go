package join

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"trivet/firstboot/node"
)

// Paths of the message queue.
const (
	rabbitHome = "/var/lib/rabbitmq"
	rabbitData = rabbitHome + "/mnesia" // also of Khepri: the folder kept its name
	// rabbitFormed is made when the queue of a lab first ran. Until then its
	// folder holds nothing that anybody was promised.
	rabbitFormed = "/var/lib/trivet/formed/rabbitmq"
	// rabbitTLS is a tmpfs: a key is not to be found on the disk in clear.
	rabbitTLS = "/run/rabbitmq-tls"
)

func rabbitmq() Step {
	return Step{Name: "rabbitmq", Judges: true, Done: rabbitDone, Do: rabbitStart, Tell: rabbitTell}
}

func rabbitDone(ctx context.Context, env Env) (bool, error) {
	active, err := env.Active(ctx)
	if err != nil || !active || env.Quorum == nil {
		return active && err == nil, err
	}
	// A new description may bring new certificates, which brokers that run take up.
	for path, data := range rabbitTLSFiles(env) {
		if have, err := os.ReadFile(env.Path(path)); err != nil || !bytes.Equal(have, data) {
			return false, nil
		}
	}
	return rabbitJoined(ctx, env)
}

func rabbitStart(ctx context.Context, env Env) error {
	if env.Quorum != nil {
		return newRabbitMember(env).up(ctx)
	}
	return rabbitAlone(ctx, env)
}

// rabbitAlone brings up the queue of a lab, which has one node for ever.
func rabbitAlone(ctx context.Context, env Env) error {
	cookie, err := env.Secret("rabbitmq/cookie")
	if err != nil {
		return err
	}
	if err := writeCookie(env, cookie); err != nil {
		return err
	}
	if err := writeRabbitTLS(env); err != nil {
		return err
	}
	_, err = os.Stat(env.Path(rabbitFormed))
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
func writeCookie(env Env, cookie node.Secret) error {
	return env.WriteFile(rabbitHome+"/.erlang.cookie", []byte(cookie.Reveal()), 0o400, "rabbitmq", "rabbitmq")
}

// writeRabbitTLS puts the certificates of the circle of trust rabbit where the
// Erlang nodes and their tools, which run as the user rabbitmq, can read them.
func writeRabbitTLS(env Env) error {
	for path, data := range rabbitTLSFiles(env) {
		if err := env.WriteFile(path, data, 0o440, "root", "rabbitmq"); err != nil {
			return err
		}
	}
	return nil
}

// rabbitTLSFiles returns those certificates by their paths. A description in
// clear text has none; then the templates ask for none.
func rabbitTLSFiles(env Env) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"ca.crt", "node.crt", "node.key"} {
		if data, ok := env.Files["pki/rabbit/"+name]; ok {
			files[rabbitTLS+"/"+name] = data
		}
	}
	return files
}

// setAside renames the queue's data, over what was set aside before.
func setAside(env Env) error {
	from, to := env.Path(rabbitData), env.Path(rabbitData+".aside")
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the queue's data aside: %w", err)
	}
	return nil
}
