package source

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"trivet/firstboot/node"
)

// label is that of a NoCloud seed's file system, in any case.
const label = "cidata"

// lookDisks takes the file system labelled cidata. Whole disks and partitions
// are looked at. Two with different content are an error: nobody can know
// which is meant.
func lookDisks(env Env) (*Candidate, error) {
	media, looked, err := labelled(env, label)
	if err != nil {
		return nil, err
	}
	if len(media) == 0 {
		return nil, noMedium(looked)
	}
	var taken *Medium
	var first map[string][]byte
	for i, m := range media {
		media[i].Secrets = []string{"user-data", vendorData}
		files, err := env.ReadDisk(m.Device, m.Type, names(), node.MaxDescription)
		switch {
		case err != nil:
			return nil, err
		case isWiped(files["user-data"]):
		case taken == nil:
			taken, first = &media[i], files
		case !maps.EqualFunc(first, files, slices.Equal[[]byte]):
			return nil, fmt.Errorf("%s and %s are both labelled %s and differ; detach one", taken.Name, m.Name, label)
		}
	}
	if taken == nil {
		return nil, wipedError{media[0].Name}
	}
	p, err := payload(taken.Name+":/", first)
	if err != nil {
		return nil, err
	}
	return &Candidate{
		Origin: taken.String(), Channel: ByDisk, Media: media,
		Read: func(context.Context) (Payload, error) { return p, nil },
	}, nil
}
