package initrd

import (
	"bytes"
	"debug/elf"
	"errors"
)

// checkStatic refuses a program that needs a dynamic loader, which the initrd
// does not have: the kernel would say no more than "No working init found".
func checkStatic(program []byte) error {
	if !bytes.HasPrefix(program, []byte(elf.ELFMAG)) {
		return nil // a script, as tests have one
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs a dynamic loader, which an initrd does not have; build it with CGO_ENABLED=0, as `make bin` does")
		}
	}
	return nil
}
