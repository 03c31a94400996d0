package initrd

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// program is an ELF header with one program header (elf(5)).
func program(t *testing.T, kind elf.ProgType) []byte {
	t.Helper()
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	var b bytes.Buffer
	for _, part := range []any{header, elf.Prog64{Type: uint32(kind)}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestCheckStatic(t *testing.T) {
	if err := checkStatic(program(t, elf.PT_LOAD)); err != nil {
		t.Errorf("a static program: %v", err)
	}
	if err := checkStatic(program(t, elf.PT_INTERP)); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("a dynamic program: %v", err)
	}
	if err := checkStatic([]byte("\x7fELFrubbish")); err == nil {
		t.Error("rubbish was taken")
	}
}
