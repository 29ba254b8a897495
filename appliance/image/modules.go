package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// modules are the kernel's, as a package has them: no depmod has been here.
type modules struct {
	files   map[string]string // path of the file by the module's name
	builtin map[string]bool
}

// moduleName is what the kernel calls the module in a file.
func moduleName(file string) string {
	plain, _ := cutCompression(path.Base(file))
	return strings.ReplaceAll(strings.TrimSuffix(plain, ".ko"), "-", "_")
}

// cutCompression takes the end off a module's name that says how it is compressed: as nothing, gz, xz or zst.
func cutCompression(file string) (plain, compression string) {
	if before, after, ok := strings.Cut(file, ".ko."); ok {
		return before + ".ko", after
	}
	return file, ""
}

// readModule reads a module, and decompresses it: the kernel takes them plain, and its signature is of the plain one.
func readModule(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		data, err = decompress(data, file)
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	return data, nil
}

func decompress(data []byte, file string) ([]byte, error) {
	var r io.Reader
	var err error
	switch _, compression := cutCompression(file); compression {
	case "":
		return data, nil
	case "gz":
		r, err = gzip.NewReader(bytes.NewReader(data))
	case "xz":
		r, err = xz.NewReader(bytes.NewReader(data))
	case "zst":
		r, err = zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1)) // one needs no Close
	default:
		err = fmt.Errorf("%s is no compression of modules", compression)
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, moduleMax+1))
	if err == nil && len(plain) > moduleMax {
		err = fmt.Errorf("it has more than %d bytes", moduleMax)
	}
	return plain, err
}

// moduleMax bounds what a module may decompress into. The largest of Debian 12's, amdgpu, has 19 MiB.
const moduleMax = 256 << 20

// readModules looks at the directory of one kernel's modules.
func readModules(dir string) (*modules, error) {
	m := &modules{files: make(map[string]string), builtin: make(map[string]bool)}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read what is built into the kernel (Debian says it in linux-image-%[1]s or linux-base-%[1]s): %[2]w", filepath.Base(dir), err)
	}
	for line := range strings.Lines(string(text)) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(name string, d fs.DirEntry, err error) error {
		if plain, _ := cutCompression(name); err == nil && strings.HasSuffix(plain, ".ko") {
			m.files[moduleName(name)] = name
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	return m, nil
}

// closure returns the files of the modules of these names and of all that they depend on, in an order in which they can be loaded,
// and the names that the kernel has no module of.
func (m *modules) closure(names []string) (files, without []string, err error) {
	seen := make(map[string]bool)
	var add func(name string, soft bool) error
	add = func(name string, soft bool) error {
		if seen[name] || m.builtin[name] {
			return nil
		}
		seen[name] = true
		file, ok := m.files[name]
		if !ok {
			if soft {
				return nil // may be the name of an algorithm, or of what this kernel does without
			}
			return fmt.Errorf("the kernel has no module %s", name)
		}
		d, err := readDependencies(file)
		if err != nil {
			return err
		}
		for _, before := range d.hard {
			if err := add(before, false); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		for _, before := range d.pre {
			if err := add(before, true); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		files = append(files, file)
		for _, after := range d.post {
			if err := add(after, true); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	for _, name := range names {
		if m.files[name] == "" && !m.builtin[name] {
			without = append(without, name)
			continue
		}
		if err := add(name, false); err != nil {
			return nil, nil, err
		}
	}
	return files, without, nil
}

// dependencies of a module: those that its symbols are in, and those that it asks for before and after itself.
type dependencies struct {
	hard, pre, post []string
}

// readDependencies reads a module's section .modinfo: strings that end in a zero byte.
func readDependencies(file string) (dependencies, error) {
	data, err := readModule(file)
	if err != nil {
		return dependencies{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return dependencies{}, fmt.Errorf("read module %s: %w", file, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return dependencies{}, fmt.Errorf("read module %s: it has no .modinfo", file)
	}
	text, err := section.Data()
	if err != nil {
		return dependencies{}, fmt.Errorf("read module %s: %w", file, err)
	}
	return parseModinfo(string(text)), nil
}

func parseModinfo(text string) dependencies {
	var d dependencies
	for entry := range strings.SplitSeq(text, "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "depends":
			d.hard = append(d.hard, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			list := &d.pre
			for word := range strings.FieldsSeq(value) {
				switch word {
				case "pre:":
					list = &d.pre
				case "post:":
					list = &d.post
				default:
					*list = append(*list, word)
				}
			}
		}
	}
	for _, list := range [][]string{d.hard, d.pre, d.post} {
		for i := range list {
			list[i] = moduleName(list[i])
		}
		slices.Sort(list)
	}
	return d
}
