package image

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"weir/appliance/image/layout"
)

// initramfs is what the router starts from: the binary as /init, modules, and what the image says of itself.
func initramfs(binary []byte, k kernelFiles, load []string, info layout.Info) ([]byte, error) {
	said, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write what the image says of itself: %w", err)
	}
	entries := []entry{
		{name: "dev/console", mode: typeCharacter | 0o600, rdev: [2]uint32{5, 1}},
		{name: inside(layout.Init), mode: typeRegular | 0o755, data: binary},
		{name: inside(layout.InfoFile), mode: typeRegular | 0o644, data: append(said, '\n')},
	}
	for _, dir := range []string{"proc", "sys", "run", "tmp", "config", "esp"} {
		entries = append(entries, entry{name: dir, mode: typeDirectory | 0o755})
	}
	var order strings.Builder
	for _, file := range load {
		relative, err := filepath.Rel(k.modules, file)
		if err != nil {
			return nil, err
		}
		data, err := readModule(file)
		if err != nil {
			return nil, err
		}
		plain, _ := cutCompression(filepath.ToSlash(relative))
		name := "lib/modules/" + k.release + "/" + plain
		entries = append(entries, entry{name: name, mode: typeRegular | 0o644, data: data})
		order.WriteString("/" + name + "\n")
	}
	entries = append(entries, entry{name: inside(layout.ModulesFile), mode: typeRegular | 0o644, data: []byte(order.String())})
	plain, err := archive(entries)
	if err != nil {
		return nil, err
	}
	// One goroutine, so that the same input always gives the same blocks.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress the initramfs: %w", err)
	}
	defer w.Close()
	return w.EncodeAll(plain, nil), nil
}

// inside is the name in the archive of a path on the running router.
func inside(path string) string { return strings.TrimPrefix(path, "/") }

// static returns the binary if it can be PID 1 of a machine without a C library.
func static(name string) ([]byte, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%s is for %v, the image for x86-64", name, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is not static: `make build` makes one that is", name)
		}
	}
	return os.ReadFile(name)
}
