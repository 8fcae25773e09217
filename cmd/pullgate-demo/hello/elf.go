package hello

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Layout of the program files: one ELF header, one program header, then code
// and text, all in a single read-and-execute segment (elf(5)).
const (
	headerSize = 64
	phdrSize   = 56
	codeOffset = headerSize + phdrSize
	loadAddr   = 0x400000
	maxText    = 1024 // keeps every offset within the reach of the instructions used
)

// ELF machine numbers (e_machine) and the alignment of the largest page that a
// kernel of that architecture uses.
const (
	machineAMD64 = 62
	machineARM64 = 183
	alignAMD64   = 0x1000
	alignARM64   = 0x10000
)

// Architectures lists the architectures that [Program] can make, in GOARCH's
// words.
func Architectures() []string { return []string{"amd64", "arm64"} }

// Program returns a static Linux executable that writes text to standard output
// and exits with status 0. It needs no library, no file and no memory of its
// own, so it runs in an image that holds nothing else. Text is at most 1,024
// bytes; other architectures than amd64 and arm64 are errors.
func Program(arch, text string) ([]byte, error) {
	if len(text) == 0 || len(text) > maxText {
		return nil, fmt.Errorf("program text of %d bytes: expected 1 to %d", len(text), maxText)
	}
	switch arch {
	case "amd64":
		return executable(machineAMD64, alignAMD64, codeAMD64(len(text)), text), nil
	case "arm64":
		return executable(machineARM64, alignARM64, codeARM64(len(text)), text), nil
	}
	return nil, fmt.Errorf("architecture %q: expected one of %v", arch, Architectures())
}

// codeAMD64 is write(1, text, n); exit(0) with the text right behind it.
func codeAMD64(n int) []byte {
	var c []byte
	c = append(c, 0xb8, 1, 0, 0, 0)   // mov eax, 1 (write)
	c = append(c, 0xbf, 1, 0, 0, 0)   // mov edi, 1 (stdout)
	c = append(c, 0x48, 0x8d, 0x35)   // lea rsi, [rip+d]
	c = append(c, 16, 0, 0, 0)        //   d: the 16 bytes of code that follow
	c = append(c, 0xba)               // mov edx, n
	c = append(c, le32(uint32(n))...) //
	c = append(c, 0x0f, 0x05)         // syscall
	c = append(c, 0xb8, 60, 0, 0, 0)  // mov eax, 60 (exit)
	c = append(c, 0x31, 0xff)         // xor edi, edi
	return append(c, 0x0f, 0x05)      // syscall
}

// codeARM64 is the same in A64 instructions.
func codeARM64(n int) []byte {
	const svc = 0xd4000001 // svc #0
	words := []uint32{
		movz(0, 1),         // mov x0, #1 (stdout)
		adr(1, 7*4),        // adr x1, text: seven instructions further on
		movz(2, uint32(n)), // mov x2, #n
		movz(8, 64),        // mov x8, #64 (write)
		svc,
		movz(0, 0),  // mov x0, #0
		movz(8, 93), // mov x8, #93 (exit)
		svc,
	}
	var c []byte
	for _, w := range words {
		c = append(c, le32(w)...)
	}
	return c
}

// movz encodes "mov x<reg>, #imm" for 16 bits of imm.
func movz(reg, imm uint32) uint32 { return 0xd2800000 | imm<<5 | reg }

// adr encodes "adr x<reg>, pc+offset" for small offsets: the two low bits of the
// offset lie in bits 29 and 30, the others from bit 5.
func adr(reg, offset uint32) uint32 {
	return 0x10000000 | (offset&3)<<29 | (offset>>2)<<5 | reg
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// executable wraps code and text into an ELF file.
func executable(machine uint16, align uint64, code []byte, text string) []byte {
	size := uint64(codeOffset + len(code) + len(text))
	var b bytes.Buffer
	put := func(vs ...any) {
		for _, v := range vs {
			_ = binary.Write(&b, binary.LittleEndian, v) // a bytes.Buffer cannot fail
		}
	}
	b.WriteString("\x7fELF\x02\x01\x01")                                     // 64 bit, little endian, version 1
	b.Write(make([]byte, 9))                                                 // System V ABI, padding
	put(uint16(2), machine, uint32(1), uint64(loadAddr+codeOffset))          // executable, entry
	put(uint64(headerSize), uint64(0), uint32(0))                            // program headers, no sections, flags
	put(uint16(headerSize), uint16(phdrSize), uint16(1))                     // sizes and count
	put(uint16(0), uint16(0), uint16(0))                                     // no section headers
	put(uint32(1), uint32(5), uint64(0), uint64(loadAddr), uint64(loadAddr)) // PT_LOAD, R+X, the whole file
	put(size, size, align)                                                   //
	b.Write(code)
	b.WriteString(text)
	return b.Bytes()
}
