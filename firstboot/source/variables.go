package source

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var variablePattern = regexp.MustCompile(`\{([^{}]*)\}`)

// variableNames are those that trivet.url may hold. Not ${…}: iPXE fills that
// in itself.
const variableNames = "{uuid}, {serial}, {mac}, {boot-mac}, {hostname} and {asset}"

// expandVariables fills in the variables in the path and the query of a URL,
// escaped. A variable that this machine has no value for is an error: the
// server would answer for another machine, or for none.
func expandVariables(env Env, w words, text string, escape func(string) string) (string, error) {
	head, tail := splitHost(text)
	if strings.ContainsAny(head, "{}") {
		return "", errors.New("variables may stand in the path and in the query, not before them")
	}
	path, query, hasQuery := strings.Cut(tail, "?")
	var wrong error
	fill := func(s string, escape func(string) string) string {
		return variablePattern.ReplaceAllStringFunc(s, func(match string) string {
			value, err := variable(env, w, match[1:len(match)-1])
			if err == nil && escape(value) == "" {
				err = fmt.Errorf("%s is %q here, which cannot be part of a file's name", match, value)
			}
			if err != nil {
				wrong = errors.Join(wrong, err)
			}
			return escape(value)
		})
	}
	out := head + fill(path, escape)
	if hasQuery {
		out += "?" + fill(query, url.QueryEscape)
	}
	return out, wrong
}

// splitHost parts a URL before its path.
func splitHost(text string) (head, tail string) {
	start := strings.Index(text, "://")
	if start < 0 {
		return "", text
	}
	start += len("://")
	if end := strings.IndexAny(text[start:], "/?"); end >= 0 {
		return text[:start+end], text[start+end:]
	}
	return text, ""
}

// plainName is for paths that are not URLs: a value with a slash is no name.
func plainName(value string) string {
	if strings.Contains(value, "/") || value == ".." || value == "." {
		return ""
	}
	return value
}

// variable returns the value of a variable.
func variable(env Env, w words, name string) (value string, err error) {
	switch name {
	case "uuid":
		value, err = readDMI(env, "product_uuid")
		value = strings.ToLower(value)
		if strings.Trim(value, "0-") == "" || strings.Trim(value, "f-") == "" {
			value = "" // a board whose maker did not set it
		}
	case "serial":
		value, err = readDMI(env, serialFile)
	case "asset":
		value, err = readDMI(env, "chassis_asset_tag")
	case "hostname":
		value, err = hostname(env)
	case "mac":
		value, err = firstMAC(env)
	case "boot-mac":
		value, err = bootMAC(w)
	default:
		return "", fmt.Errorf("{%s} is not known; the variables are %s", name, variableNames)
	}
	if err == nil && value == "" {
		err = fmt.Errorf("{%s} has no value on this machine", name)
	}
	return value, err
}

// hostname returns the name that the kernel command line or DHCP gave, if any.
func hostname(env Env) (string, error) {
	data, err := os.ReadFile(env.path("/proc/sys/kernel/hostname"))
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read the host name: %w", err)
	}
	name := strings.TrimSpace(string(data))
	if name == "(none)" || name == "localhost" {
		return "", nil
	}
	return name, nil
}

// firstMAC returns the address of the first network card, in the order of their
// names. What has no device behind it, such as a bridge, is not a card.
func firstMAC(env Env) (string, error) {
	const cards = "/sys/class/net"
	entries, err := os.ReadDir(env.path(cards))
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("list network cards: %w", err)
	}
	for _, e := range entries {
		dir := env.path(filepath.Join(cards, e.Name()))
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "address"))
		if mac := strings.TrimSpace(string(data)); err == nil && strings.Trim(mac, "0:") != "" {
			return strings.ToLower(mac), nil
		}
	}
	return "", nil
}

var bootPattern = regexp.MustCompile(`^01-([0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5})$`)

// BootCard returns the hardware address of the card that the machine was booted
// by, in small letters with colons; "" if the kernel command line does not say.
func BootCard(env Env) (string, error) {
	w, err := readCommandLine(env)
	if err != nil {
		return "", err
	}
	return bootMAC(w)
}

// bootMAC returns the address of the card that the machine was booted by, which
// pxelinux (IPAPPEND 2) and iPXE scripts put into BOOTIF=01-aa-bb-cc-dd-ee-ff.
func bootMAC(w words) (string, error) {
	text, has, err := w.value("BOOTIF")
	if err != nil || !has {
		return "", err
	}
	parts := bootPattern.FindStringSubmatch(text)
	if parts == nil {
		return "", fmt.Errorf("BOOTIF=%s on the kernel command line is not 01- and a hardware address", text)
	}
	return strings.ToLower(strings.ReplaceAll(parts[1], "-", ":")), nil
}
