package image

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// modules are the kernel's, as a package has them: no depmod has been here.
type modules struct {
	files   map[string]string // path of the file by the module's name
	builtin map[string]bool
}

// moduleName is what the kernel calls the module in a file.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// readModules looks at the directory of one kernel's modules.
func readModules(dir string) (*modules, error) {
	m := &modules{files: make(map[string]string), builtin: make(map[string]bool)}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read what is built into the kernel: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".ko") {
			m.files[moduleName(name)] = name
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	return m, nil
}

// closure returns the files of the modules of these names and of all that they depend on, in an order in which they can be loaded.
func (m *modules) closure(names []string) ([]string, error) {
	var files []string
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
		if err := add(name, false); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependencies of a module: those that its symbols are in, and those that it asks for before and after itself.
type dependencies struct {
	hard, pre, post []string
}

// readDependencies reads a module's section .modinfo: strings that end in a zero byte.
func readDependencies(file string) (dependencies, error) {
	f, err := elf.Open(file)
	if err != nil {
		return dependencies{}, fmt.Errorf("read module %s: %w", file, err)
	}
	defer f.Close()
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
