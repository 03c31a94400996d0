package cloud

import (
	"fmt"

	"trivet/firstboot/node"
)

// didYouMean begins a message's advice with the known word nearest to word, if
// one is near.
func didYouMean(word string, known []string) string {
	if best := node.Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q? ", best)
	}
	return ""
}
