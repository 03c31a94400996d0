package source

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"trivet/firstboot/node"
)

// wipedMark begins a file that Wipe overwrote; the rest is zeros.
const wipedMark = "#trivet/wiped\n"

// A wipedError is a medium whose user-data was wiped after it was used. It is
// not there any more, as its source.
type wipedError struct{ name string }

func (e wipedError) Error() string {
	return e.name + " was used and wiped by this node at an earlier boot"
}

// wipedContent replaces a file of a length in bytes.
func wipedContent(length int) []byte {
	content := make([]byte, length)
	copy(content, wipedMark)
	return content
}

// isWiped answers whether a file is as Wipe left it. Whoever zeroed one by hand
// meant the same.
func isWiped(data []byte) bool {
	if len(data) == 0 {
		return false
	}
	return bytes.Equal(data, wipedContent(len(data))) || len(bytes.Trim(data, "\x00")) == 0
}

// Wipe overwrites the user-data of a source on the media that can be written, so
// that its secrets do not stay beside the node. It is for after the description
// is stored. The texts say what was wiped; attached is true while user-data is
// still on a medium that cannot be written, such as the ISO of a drive. What was wiped
// before is left alone. A nil candidate has nothing to wipe.
func Wipe(env Env, c *Candidate) (done []string, attached bool, err error) {
	if c == nil {
		return nil, false, nil
	}
	for _, m := range c.Media {
		wiped, left, wipeErr := wipeMedium(env, m)
		done = append(done, wiped...)
		if wipeErr != nil {
			err = errors.Join(err, fmt.Errorf("wipe %s: %w", m, wipeErr))
		}
		attached = attached || left
	}
	return done, attached, err
}

// secretsOn returns the files of a medium that still hold something.
func secretsOn(env Env, m Medium) (map[string][]byte, error) {
	files, err := env.ReadDisk(m.Device, m.Type, m.Secrets, node.MaxDescription)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(_ string, data []byte) bool {
		return len(data) == 0 || isWiped(data) || isEmptyJSON(data)
	})
	return files, nil
}

// wipeMedium overwrites the files of a medium and reads them back. Left is true
// if one is still there: a medium that cannot be written is no error.
func wipeMedium(env Env, m Medium) (done []string, left bool, err error) {
	files, err := secretsOn(env, m)
	if err != nil || len(files) == 0 {
		return nil, err != nil, err
	}
	content := map[string][]byte{}
	for name, data := range files {
		content[name] = wipedContent(len(data))
	}
	switch {
	case !m.Writable:
		return nil, true, nil
	case m.Type == "vfat" && env.WriteDisk != nil:
		err = env.WriteDisk(m.Device, m.Type, content)
	case m.Type == "vfat":
		err = errors.New("this agent has no way to write disks")
	case m.Part:
		err = overwriteISO(m.Device, files, content)
	default: // an ISO file that a hypervisor lends, or a real disc
		return nil, true, nil
	}
	if err != nil {
		return nil, true, err
	}
	still, err := secretsOn(env, m)
	if err != nil {
		return nil, true, err
	}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		if _, is := still[name]; is {
			return nil, true, fmt.Errorf("%s is still there after it was overwritten", name)
		}
		done = append(done, m.Name+":/"+name)
	}
	return done, false, nil
}
