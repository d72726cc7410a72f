package wrap

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// loader is what a patched program names as its interpreter: a link to the base image's own.
const loader = protocol.InstallFolder + "/ld.so"

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// readProgram returns the part of a program that names its interpreter, or nil for a static program. head is the
// program's beginning. The result is a part of head, so that who changes it changes the program.
func readProgram(head []byte, architecture string) ([]byte, error) {
	var header elf.Header64
	if _, err := binary.Decode(head, binary.LittleEndian, &header); err != nil ||
		!bytes.HasPrefix(head, []byte(elf.ELFMAG)) || elf.Class(header.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(header.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, errors.New("it is not a 64-bit ELF program")
	}
	if machine := elf.Machine(header.Machine); machine != machines[architecture] {
		return nil, fmt.Errorf("it is for %v, not for %s", machine, architecture)
	}
	for i := range uint64(header.Phnum) {
		var segment elf.Prog64
		at := header.Phoff + i*uint64(header.Phentsize)
		if at > uint64(len(head)) {
			return nil, errors.New("its program headers are not at its beginning")
		}
		if _, err := binary.Decode(head[at:], binary.LittleEndian, &segment); err != nil {
			return nil, errors.New("its program headers are not at its beginning")
		}
		if elf.ProgType(segment.Type) != elf.PT_INTERP {
			continue
		}
		end := segment.Off + segment.Filesz
		if end < segment.Off || end > uint64(len(head)) {
			return nil, errors.New("the name of its interpreter is not at its beginning")
		}
		return head[segment.Off:end], nil
	}
	return nil, nil
}

// patch replaces the name of a program's interpreter by loader, and returns the old name.
func patch(interpreter []byte) (string, error) {
	if len(interpreter) < len(loader)+1 {
		return "", fmt.Errorf("the name of its interpreter has %d bytes; %d are needed", len(interpreter), len(loader)+1)
	}
	old, _, _ := bytes.Cut(bytes.Clone(interpreter), []byte{0})
	clear(interpreter)
	copy(interpreter, loader)
	return string(old), nil
}

// library is what a dynamic library or program needs.
type library struct {
	needs []string
	// search has the folders of DT_RPATH and DT_RUNPATH, with $ORIGIN.
	search []string
}

// readLibrary reads a library, or returns nil for a file of another kind.
func readLibrary(content io.ReaderAt) *library {
	f, err := elf.NewFile(content)
	if err != nil {
		return nil
	}
	var l library
	if l.needs, err = f.ImportedLibraries(); err != nil {
		return nil
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		if folders, err := f.DynString(tag); err == nil {
			l.search = append(l.search, folders...)
		}
	}
	return &l
}
