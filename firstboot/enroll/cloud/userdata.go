package cloud

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// Extra is what a node's user-data has beside what the description says. A
// bundle and secrets exclude each other.
type Extra struct {
	Bundle     string            // an age file in ASCII armor
	Secrets    map[string]string // in clear text, by names such as keystone/db
	Generation int               // from 1; 0: none
}

// UserData returns what one node is told: a description that node.Parse reads.
// The same node and extra give the same bytes.
func (c Cloud) UserData(n Node, extra Extra) ([]byte, error) {
	if extra.Bundle != "" && len(extra.Secrets) > 0 {
		return nil, fmt.Errorf("write the user-data of %s: a bundle and clear-text secrets exclude each other", n.Name)
	}
	if err := checkSecrets(extra.Secrets); err != nil {
		return nil, fmt.Errorf("write the user-data of %s: %w", n.Name, err)
	}
	var w writer
	w.line("%s", node.Header)
	w.line("# %s, a %s of the cloud %s. Made by trivet from %s: change it there.", n.Name, n.Role, c.Name, plainName(c.File))
	w.pair("cluster", c.Name)
	w.pair("name", n.Name)
	w.pair("role", n.Role)
	if extra.Generation > 0 {
		w.line("generation: %d", extra.Generation)
	}
	w.pair("vip", c.VIP.Address.String())
	w.line("vrid: %d", c.VIP.VRID)
	w.pair("address", n.Addresses[Management].String())
	if device := c.device(n); device != "" {
		w.pair("interface", device)
	}
	w.line("controllers:")
	for _, m := range c.Controllers {
		w.line("  - {name: %s, address: %s}", quoted(m.Name), m.Addresses[Management].Addr())
	}
	if len(n.Disks) > 0 {
		w.line("storage:\n  devices:")
		for _, d := range n.Disks {
			w.line("    - %s", quoted(d.Name))
		}
	}
	if len(c.SSHAuthorizedKeys) > 0 {
		w.line("ssh_authorized_keys:")
		for _, key := range c.SSHAuthorizedKeys {
			w.line("  - %s", quoted(key))
		}
	}
	if len(c.NTP) > 0 {
		w.line("ntp: [%s]", joinedWords(c.NTP))
	}
	w.settings(c.Settings)
	w.config(c.Config)
	return w.extra(extra), nil
}

func joinedWords(all []string) string {
	words := make([]string, 0, len(all))
	for _, s := range all {
		words = append(words, quoted(s))
	}
	return strings.Join(words, ", ")
}

// device returns the name of the interface that holds the node's address, where
// the description tells it; the node finds any other by the address itself.
func (c Cloud) device(n Node) string {
	card := n.Interfaces[Management]
	if strings.Contains(card, ":") || c.Networks.Management.VLAN != 0 {
		return ""
	}
	return card
}

// checkSecrets says which secret a node would refuse, without showing it.
func checkSecrets(secrets map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if !secretForm.MatchString(name) {
			return fmt.Errorf("%q is not the name of a secret, such as keystone/db", name)
		}
		if err := node.CheckSecret(secrets[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// A writer writes YAML, line by line.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.Builder, format+"\n", args...) }

func (w *writer) pair(key, value string) { w.line("%s: %s", key, quoted(value)) }

func (w *writer) settings(s node.Settings) {
	w.line("settings:")
	w.line("  region: %s", quoted(s.Region))
	w.line("  mariadb: {buffer_pool: %s, galera_cache: %s, max_connections: %d}", s.MariaDB.BufferPool, s.MariaDB.GaleraCache, s.MariaDB.MaxConnections)
	w.line("  rabbitmq: {schedulers: %d, memory: %s, clients: %s}", s.RabbitMQ.Schedulers, s.RabbitMQ.Memory, s.RabbitMQ.Clients)
	w.line("  memcached: {memory: %s}", s.Memcached.Memory)
	w.line("  keystone: {processes: %d, threads: %d}", s.Keystone.Processes, s.Keystone.Threads)
}

// config writes the free-form options.
func (w *writer) config(config map[string]map[string]map[string]string) {
	if len(config) > 0 {
		w.line("config:")
	}
	for _, service := range slices.Sorted(maps.Keys(config)) {
		w.line("  %s:", service)
		for _, section := range slices.Sorted(maps.Keys(config[service])) {
			w.line("    %s:", quoted(section))
			options := config[service][section]
			for _, option := range slices.Sorted(maps.Keys(options)) {
				w.line("      %s: %s", quoted(option), quoted(options[option]))
			}
		}
	}
}

// extra writes what comes last, and returns the whole.
func (w *writer) extra(extra Extra) []byte {
	if extra.Bundle != "" {
		w.line("bundle: |")
		for text := range strings.Lines(strings.TrimRight(extra.Bundle, "\n")) {
			w.line("  %s", strings.TrimRight(text, "\r\n"))
		}
	}
	if len(extra.Secrets) > 0 {
		w.line("# In clear text: who reads this file has them.")
		w.line("secrets_delivery: cleartext")
		w.line("secrets:")
		for _, name := range slices.Sorted(maps.Keys(extra.Secrets)) {
			w.line("  %s: %s", name, quoted(extra.Secrets[name]))
		}
	}
	return []byte(w.String())
}

// Words that can stand in YAML without quotes: what no reader of YAML 1.1 or
// 1.2 takes for anything else than text, and what it might.
var (
	plainWord  = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9 @=+./_-]*[A-Za-z0-9=+/_-]$|^[0-9]+(\.[0-9]+){3}(/[0-9]+)?$`)
	otherWord  = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf|[0-9a-f]+e[0-9]+)$`)
	secretForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?$`)
)

// quoted writes text as YAML: as it is where that is safe, else as JSON, whose
// strings are YAML's in double quotes.
func quoted(s string) string {
	if plainWord.MatchString(s) && !otherWord.MatchString(s) {
		return s
	}
	text, _ := plainJSON(s) // which refuses no string
	return string(text)
}

// plainName is the last part of a path, fit for a comment.
func plainName(path string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, filepath.Base(path))
}
