package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// Headers of IMDSv2 (Amazon EC2 User Guide, "Use the Instance Metadata Service").
const (
	headerTTL   = "X-aws-ec2-metadata-token-ttl-seconds"
	headerToken = "X-aws-ec2-metadata-token"
	tokenTTL    = "21600" // seconds, the most
	maxToken    = 4 << 10 // bytes
)

// ec2Versions are those that hold what is read, the newest first (cloud-init,
// DataSourceEc2.py). Nova's imitation has the last.
func ec2Versions() []string {
	return []string{"2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"}
}

// ec2UUID matches the first group of a machine's UUID: EC2 and digits, or the
// same with the bytes in little-endian order (cloud-init, ds-identify).
var ec2UUID = regexp.MustCompile(`^(?i:ec2[0-9a-f]*|[0-9a-f]*2[0-9a-f]ec)$`)

// lookEC2 takes the metadata service if the hypervisor or the firmware says EC2.
func lookEC2(env Env) (*Candidate, error) {
	ok, why, err := isEC2(env)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, Absent("the machine's UUID is not of EC2")
	}
	return ec2Candidate(env, why, true), nil
}

// isEC2 answers whether the UUID is one of EC2's, and which.
func isEC2(env Env) (bool, string, error) {
	data, err := os.ReadFile(env.path("/sys/hypervisor/uuid"))
	if err == nil && strings.HasPrefix(strings.ToLower(string(data)), "ec2") {
		return true, "the hypervisor's UUID is " + strings.TrimSpace(string(data)), nil
	}
	uuid, err := readDMI(env, "product_uuid")
	if err != nil {
		return false, "", err
	}
	group, _, _ := strings.Cut(uuid, "-")
	return ec2UUID.MatchString(group), "the UUID is " + uuid, nil
}

func ec2Candidate(env Env, why string, onAWS bool) *Candidate {
	return &Candidate{
		Origin: "EC2's metadata service (" + why + ")", Remote: true, Channel: ByNetwork,
		Read: func(ctx context.Context) (Payload, error) {
			s := &ec2Session{env: env, onAWS: onAWS, base: linkLocal}
			if len(env.IMDS) > 0 {
				s.base = strings.TrimSuffix(env.IMDS[0], "/")
			}
			s.env.Client = noRedirects(env.Client)
			return s.read(ctx)
		},
	}
}

// noRedirects keeps the token from other servers. The service never redirects.
func noRedirects(client *http.Client) *http.Client {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error {
		return redirectError("the metadata service redirects, which it never does")
	}
	return &own
}

// An ec2Session asks with a token.
type ec2Session struct {
	env   Env
	base  string
	onAWS bool   // version 1, which has no token, is never used
	token string // empty: version 1
}

func (s *ec2Session) read(ctx context.Context) (Payload, error) {
	if err := s.renew(ctx); err != nil {
		return Payload{}, err
	}
	list, err := s.get(ctx, "/", true)
	if err != nil {
		return Payload{}, err
	}
	there := strings.Fields(string(list.Data))
	chosen := slices.IndexFunc(ec2Versions(), func(v string) bool { return slices.Contains(there, v) })
	if chosen < 0 {
		return Payload{}, fmt.Errorf("%s/ lists no version that is known", s.base)
	}
	at := "/" + ec2Versions()[chosen] + "/"
	instance, err := s.get(ctx, at+"meta-data/instance-id", true)
	if err != nil {
		return Payload{}, err
	}
	if id := strings.TrimSpace(string(instance.Data)); id == "" || len(id) > 256 {
		return Payload{}, fmt.Errorf("%s is empty, or too long", instance.Name)
	}
	hostname, err := s.get(ctx, at+"meta-data/local-hostname", false)
	if err != nil {
		return Payload{}, err
	}
	user, err := s.get(ctx, at+"user-data", false)
	// EC2 gives several names with spaces between where a machine has several.
	name, _, _ := strings.Cut(strings.TrimSpace(string(hostname.Data)), " ")
	meta := metaData(strings.TrimSpace(string(instance.Data)), name)
	return Payload{UserData: user, MetaData: Part{Name: s.base + at + "meta-data/", Data: meta, Has: true}}, err
}

// renew asks for a token. Where a server other than AWS does not know tokens,
// it is asked without.
func (s *ec2Session) renew(ctx context.Context) error {
	data, err := s.env.fetch(ctx, request{
		client: s.env.Client, method: http.MethodPut, urls: []string{s.base + "/latest/api/token"},
		header: map[string]string{headerTTL: tokenTTL}, limit: maxToken, wait: s.onAWS,
	})
	var status statusError
	if !s.onAWS && errors.As(err, &status) && status.code < 500 {
		s.token = ""
		return nil
	}
	if err != nil {
		return fmt.Errorf("get a token of IMDSv2: %w", err)
	}
	s.token = strings.TrimSpace(string(data))
	if s.token == "" || strings.ContainsFunc(s.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s/latest/api/token answers with something that is not a token", s.base)
	}
	return nil
}

// get reads a file. A token that the server refuses is renewed once. A file that
// must be there is waited for.
func (s *ec2Session) get(ctx context.Context, path string, must bool) (Part, error) {
	p, err := s.getOnce(ctx, path, must)
	var status statusError
	if s.token == "" || !errors.As(err, &status) || status.code != http.StatusUnauthorized {
		return p, err
	}
	if err := s.renew(ctx); err != nil {
		return Part{}, err
	}
	return s.getOnce(ctx, path, must)
}

func (s *ec2Session) getOnce(ctx context.Context, path string, must bool) (Part, error) {
	header := map[string]string{}
	if s.token != "" {
		header[headerToken] = s.token
	}
	at := s.base + path
	if !must {
		return s.env.optional(ctx, at, node.MaxDescription, header)
	}
	data, err := s.env.fetch(ctx, request{client: s.env.Client, urls: []string{at}, limit: node.MaxMetaData, header: header, wait: true})
	return Part{Name: at, Data: data, Has: err == nil}, err
}
