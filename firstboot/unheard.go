package firstboot

import (
	"trivet/firstboot/render"
	"trivet/roles"
)

// noteUnheard lists among what a description has without effect the options in
// its `config:` that no file of this image takes: an older image knows fewer of
// them than the operator's command.
func noteUnheard(root string, role roles.Role) func(description, error) (description, error) {
	return func(d description, err error) (description, error) {
		if err != nil {
			return d, err
		}
		unheard, err := render.Unheard(root, d.config, role)
		d.ignored = append(d.ignored, unheard...)
		return d, err
	}
}
