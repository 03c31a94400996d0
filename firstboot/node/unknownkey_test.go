package node

import (
	"strings"
	"testing"
)

// TestUnknownKeyMayBeASecret: a misspelt key is shown, and a long word in a
// key's place is not: a secret that lost its name would be one.
func TestUnknownKeyMayBeASecret(t *testing.T) {
	const secret = "fu4vpyxyz76ofddoktmt2afrnj2kftay4qygjmlwuzlfpepjd7eq"
	for key, want := range map[string]string{
		secret:                   "unknown key; it has 52 letters, and is not shown since it may be a secret",
		"controlers":             `unknown key "controlers"; did you mean "controllers"?`,
		"ssh_authorized_keyss":   `unknown key "ssh_authorized_keyss"; did you mean "ssh_authorized_keys"?`,
		"something_of_my_own":    `unknown key "something_of_my_own"`,
		secret[:longestKey+1]:    "unknown key; it has 25 letters",
		"x" + secret[:32] + "-y": "unknown key; it has 35 letters",
	} {
		_, err := Parse("user-data", []byte(Header+"\n"+key+": "+secret+"\n"), "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret[:longestKey+1]) {
			t.Errorf("%s: %v, want %s", key, err, want)
		}
	}
}
