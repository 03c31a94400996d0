package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// unitCredentials is where systemd 257 puts the credentials of the agent's
// unit, which imports trivet.* (systemd.exec(5), ImportCredential=).
const unitCredentials = "/run/credentials/trivet-agent.service"

// Names of credentials.
const (
	credentialUser    = "trivet.userdata"
	credentialMeta    = "trivet.metadata"
	credentialNetwork = "trivet.network-config"
	credentialKey     = "trivet.key"
)

func (e Env) credentials() string {
	if e.Credentials != "" {
		return e.Credentials
	}
	return e.path(unitCredentials)
}

// lookCredential takes the credential trivet.userdata; with it, trivet.metadata
// and trivet.network-config, which are in the forms of NoCloud.
func lookCredential(env Env) (*Candidate, error) {
	dir := env.credentials()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, Absent("systemd gave the agent no credentials")
	}
	has := func(name string) bool { return isFile(filepath.Join(dir, name)) }
	if !has(credentialUser) {
		for _, other := range []string{credentialMeta, credentialNetwork} {
			if has(other) {
				return nil, fmt.Errorf("the credential %s is there, but %s is not", other, credentialUser)
			}
		}
		return nil, Absent("systemd gave the agent no credential " + credentialUser)
	}
	return &Candidate{Origin: "the credential " + credentialUser, Channel: ByCredential, Read: func(context.Context) (Payload, error) {
		files, err := host.ReadFolder(dir, []string{credentialUser, credentialMeta, credentialNetwork}, node.MaxDescription)
		if err != nil {
			return Payload{}, err
		}
		part := func(name string) Part {
			data, ok := files[name]
			return Part{Name: "credential " + name, Data: data, Has: ok}
		}
		return Payload{UserData: part(credentialUser), MetaData: part(credentialMeta), NetworkConfig: part(credentialNetwork)}, nil
	}}, nil
}
