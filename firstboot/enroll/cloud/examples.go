package cloud

import (
	"bytes"
	_ "embed" // for the examples
	"fmt"
	"strings"
)

//go:embed lab.yaml
var lab []byte

//go:embed three.yaml
var three []byte

// Examples names the examples.
func Examples() []string { return []string{"lab", "three"} }

// Example returns a commented description: "lab" is one machine, "three" has
// three controllers, a compute and three storage nodes.
func Example(name string) ([]byte, error) {
	switch name {
	case "lab":
		return bytes.Clone(lab), nil
	case "three":
		return bytes.Clone(three), nil
	}
	return nil, fmt.Errorf("print an example: there is none called %q: %sthere are %s", name, didYouMean(name, Examples()), strings.Join(Examples(), " and "))
}
