package boot

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// loadModules loads the kernel's modules that the image's list names, below root. One that cannot be loaded does not keep back the others: hardware differs.
func loadModules(root string, load func(path string) error) (loaded int, failed error) {
	f, err := os.Open(filepath.Join(root, layout.ModulesFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // all of it is in the kernel
	}
	if err != nil {
		return 0, fmt.Errorf("load modules: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := load(filepath.Join(root, line)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("load module %s: %w", line, err))
			continue
		}
		loaded++
	}
	if err := lines.Err(); err != nil {
		failed = errors.Join(failed, fmt.Errorf("read %s: %w", layout.ModulesFile, err))
	}
	return loaded, failed
}

// loadModule gives one to the kernel. In order is what is loaded already, what finds no device of its kind, and what lacks the symbols
// of one that found none.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
