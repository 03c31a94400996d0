package apt

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"trivet/builder/host"
)

// A Proxy says through what a request goes; a nil URL is the direct way.
type Proxy func(*http.Request) (*url.URL, error)

// HostProxy is the proxy that the host's own apt uses (Acquire::http::Proxy and
// Acquire::https::Proxy of apt.conf(5), or DIRECT), else that of the
// environment.
func HostProxy(ctx context.Context) (Proxy, error) {
	var out bytes.Buffer
	err := host.Exec(ctx, host.Command{
		Args: []string{"apt-config", "--format", "%f=%v%n", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"}, Stdout: &out,
	})
	if err != nil {
		return nil, fmt.Errorf("ask this host's apt for its proxy: %w", err)
	}
	return parseProxy(out.String())
}

// parseProxy reads lines such as `Acquire::http::Proxy=http://cache:3142/`.
func parseProxy(text string) (Proxy, error) {
	by := map[string]*url.URL{} // by scheme; a nil URL is DIRECT
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		scheme, found := map[string]string{"Acquire::http::Proxy": "http", "Acquire::https::Proxy": "https"}[name]
		if !found || value == "" {
			continue
		}
		if value == "DIRECT" {
			by[scheme] = nil
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5h" {
			return nil, fmt.Errorf("read %s of this host's apt: %q is not the URL of a proxy; correct it in /etc/apt/apt.conf.d", name, redacted(value))
		}
		by[scheme] = u
	}
	return func(r *http.Request) (*url.URL, error) {
		if u, found := by[r.URL.Scheme]; found {
			return u, nil
		}
		return http.ProxyFromEnvironment(r)
	}, nil
}
