package node

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Bounds of `config:`, the lines that an operator adds to services' files.
const (
	maxExtraOptions = 1000
	maxExtraValue   = 8 << 10   // bytes of one value
	maxExtra        = 256 << 10 // bytes of all
)

// serviceForm and the next two are what may stand in an INI file as oslo.config
// and MariaDB read it, without being taken for something else.
func serviceForm() form {
	return form{regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`), "the name of a service, such as keystone"}
}

func sectionForm() form {
	return form{regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,79}$`), "the name of a section, such as DEFAULT"}
}

func optionForm() form {
	return form{regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,79}$`), "the name of an option, such as debug"}
}

// extra reads `config:`. No message shows a value: it may be a password.
func (c *checker) extra(f extraFile) map[string]map[string]map[string]string {
	if len(f) == 0 {
		return nil
	}
	options, size := 0, 0
	all := map[string]map[string]map[string]string{}
	for service, sections := range f {
		c.name("config."+service, service, serviceForm())
		all[service] = map[string]map[string]string{}
		for section, lines := range sections {
			at := "config." + service + "." + section
			c.name(at, section, sectionForm())
			all[service][section] = map[string]string{}
			for option, value := range lines {
				c.name(at+"."+option, option, optionForm())
				c.extraValue(at+"."+option, string(value))
				all[service][section][option] = string(value)
				options++
				size += len(value)
			}
		}
	}
	if options > maxExtraOptions || size > maxExtra {
		c.fail("config", "there are %d options with %d bytes, more than %d or %d", options, size, maxExtraOptions, maxExtra)
	}
	return all
}

func (c *checker) name(key, name string, f form) {
	if !f.re.MatchString(name) {
		c.fail(key, "the key does not fit: it must be %s", f.says)
	}
}

// extraValue refuses what would make a line of its own.
func (c *checker) extraValue(key, value string) {
	switch {
	case len(value) > maxExtraValue:
		c.fail(key, "the value has %d bytes, more than %d", len(value), maxExtraValue)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }):
		c.fail(key, "the value has a line break or another control character")
	case value != strings.TrimSpace(value):
		c.fail(key, "the value begins or ends with a space, which no service would see")
	}
}

// maxTimeServers bounds a list that is asked one by one.
const maxTimeServers = 16

func (c *checker) timeServers(given []string) []string {
	if len(given) > maxTimeServers {
		c.fail("ntp", "there are %d time servers, more than %d", len(given), maxTimeServers)
	}
	for i, s := range given {
		if _, err := netip.ParseAddr(s); err != nil && !domain(s) {
			c.fail(fmt.Sprintf("ntp[%d]", i), "%q is neither a host name nor an address", s)
		}
	}
	return given
}
