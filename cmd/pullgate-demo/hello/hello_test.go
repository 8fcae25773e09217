package hello

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// run executes a program file: directly on its own architecture, with qemu's
// user mode elsewhere. It reports false when neither is at hand.
func run(t *testing.T, arch string, prog []byte) (string, bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, prog, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	if runtime.GOOS != "linux" || runtime.GOARCH != arch {
		qemu, err := exec.LookPath(map[string]string{"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}[arch])
		if err != nil {
			return "", false
		}
		cmd = exec.Command(qemu, file)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s program: %v", arch, err)
	}
	return string(out), true
}

func TestProgramPrintsItsTextAndExits(t *testing.T) {
	for _, arch := range Architectures() {
		for _, text := range []string{"x", "Hello from an image that passed the gate.\n", strings.Repeat("long ", 204)} {
			prog, err := Program(arch, text)
			if err != nil {
				t.Fatal(err)
			}
			got, ran := run(t, arch, prog)
			if !ran {
				t.Logf("%s: cannot be executed here", arch)
				continue
			}
			if got != text {
				t.Errorf("%s program printed %q, expected %q", arch, got, text)
			}
		}
	}
}

// The loader's view: debug/elf is strict about what it accepts.
func TestProgramIsAnELFFileWithOneSegment(t *testing.T) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for arch, machine := range machines {
		prog, err := Program(arch, "hi\n")
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(prog))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || f.Class != elf.ELFCLASS64 || len(f.Progs) != 1 {
			t.Errorf("%s: %+v with %d segments", arch, f.FileHeader, len(f.Progs))
		}
		p := f.Progs[0]
		if p.Type != elf.PT_LOAD || p.Flags != elf.PF_R|elf.PF_X || p.Filesz != uint64(len(prog)) || p.Vaddr%p.Align != p.Off%p.Align {
			t.Errorf("%s: segment %+v", arch, p.ProgHeader)
		}
		if f.Entry != p.Vaddr+codeOffset {
			t.Errorf("%s: entry %#x", arch, f.Entry)
		}
	}
}

// The instructions as an assembler writes them (objdump -d), so that machines
// without an emulator notice a wrong bit too.
func TestARM64Code(t *testing.T) {
	want := []uint32{
		0xd2800020, // mov x0, #1
		0x100000e1, // adr x1, .+28
		0xd2800062, // mov x2, #3
		0xd2800808, // mov x8, #64
		0xd4000001, // svc #0
		0xd2800000, // mov x0, #0
		0xd2800ba8, // mov x8, #93
		0xd4000001, // svc #0
	}
	code := codeARM64(3)
	if len(code) != 4*len(want) {
		t.Fatalf("%d bytes of code, expected %d", len(code), 4*len(want))
	}
	for i, w := range want {
		if got := binary.LittleEndian.Uint32(code[4*i:]); got != w {
			t.Errorf("instruction %d: %#08x, expected %#08x", i, got, w)
		}
	}
}

func TestProgramRefuses(t *testing.T) {
	for _, c := range []struct{ name, arch, text string }{
		{"no text", "amd64", ""},
		{"too much text", "arm64", strings.Repeat("x", maxText+1)},
		{"another architecture", "riscv64", "x"},
	} {
		if _, err := Program(c.arch, c.text); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

// An image is whole when every digest in it names bytes that are there.
func TestImageIsWhole(t *testing.T) {
	for _, arch := range Architectures() {
		img, err := New(arch, "hi "+arch+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := digest.FromBytes(img.Manifest); got != img.Digest {
			t.Errorf("manifest is %s, expected %s", got, img.Digest)
		}
		var m v1.Manifest
		decode(t, img.Manifest, &m)
		if m.MediaType != img.MediaType || m.SchemaVersion != 2 || len(m.Layers) != 1 {
			t.Errorf("manifest %s", img.Manifest)
		}
		for _, d := range append(m.Layers, m.Config) {
			if b := img.Blobs[d.Digest]; digest.FromBytes(b) != d.Digest || int64(len(b)) != d.Size {
				t.Errorf("blob %s: %d bytes do not fit", d.Digest, len(b))
			}
		}
		var config v1.Image
		decode(t, img.Blobs[m.Config.Digest], &config)
		if config.Architecture != arch || config.OS != "linux" || config.RootFS.Type != "layers" {
			t.Errorf("config %+v", config)
		}
		plain := unzip(t, img.Blobs[m.Layers[0].Digest])
		if len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != digest.FromBytes(plain) {
			t.Errorf("diff_ids %v, expected the digest of the plain layer", config.RootFS.DiffIDs)
		}
		checkLayer(t, plain, config.Config.Entrypoint, arch)
	}
}

// checkLayer looks for the entrypoint in the layer, and runs it.
func checkLayer(t *testing.T, layer []byte, entrypoint []string, arch string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(layer))
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if len(entrypoint) != 1 || entrypoint[0] != "/"+h.Name || h.Mode != 0o755 || h.Typeflag != tar.TypeReg {
		t.Errorf("layer holds %q (%o), entrypoint %v", h.Name, h.Mode, entrypoint)
	}
	prog, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, ran := run(t, arch, prog); ran && got != "hi "+arch+"\n" {
		t.Errorf("the layer's program printed %q", got)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the program: %v, expected the end of the layer", err)
	}
}

func TestIndexListsItsImages(t *testing.T) {
	a, errA := New("amd64", "a")
	b, errB := New("arm64", "b")
	index, err := NewIndex(a, b)
	if err := errors.Join(errA, errB, err); err != nil {
		t.Fatal(err)
	}
	var got v1.Index
	decode(t, index.Manifest, &got)
	if got.MediaType != v1.MediaTypeImageIndex || len(got.Manifests) != 2 || len(index.Children) != 2 {
		t.Fatalf("index %s", index.Manifest)
	}
	for i, child := range index.Children {
		d := got.Manifests[i]
		if d.Digest != child.Digest || d.Size != int64(len(child.Manifest)) || d.Platform.Architecture != Architectures()[i] {
			t.Errorf("entry %d: %+v", i, d)
		}
	}
}

func TestSameInputSameBytes(t *testing.T) {
	a, errA := New("amd64", "x")
	b, errB := New("amd64", "x")
	c, errC := New("amd64", "y")
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if a.Digest != b.Digest || a.Digest == c.Digest {
		t.Errorf("digests %s, %s for the same text, %s for another", a.Digest, b.Digest, c.Digest)
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
