package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kernelFiles is where a kernel and what belongs to it was unpacked.
type kernelFiles struct {
	release string // as uname -r says it
	file    string
	modules string // the directory of its modules
}

// findKernel looks for the kernel in what was unpacked. Debian 12 has it in /boot and its modules in /lib, both in one package; from 13's
// backports on it is with its modules, and those in /usr/lib.
func findKernel(dir string) (kernelFiles, error) {
	var found []kernelFiles
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return kernelFiles{}, err
		}
		for _, file := range files {
			release, ok := strings.CutPrefix(filepath.Base(file), "vmlinuz-")
			if !ok {
				release = filepath.Base(filepath.Dir(file))
			}
			found = append(found, kernelFiles{release: release, file: file})
		}
	}
	if len(found) != 1 {
		return kernelFiles{}, fmt.Errorf("find the kernel: the packages have %d (Debian's are linux-image-RELEASE, or linux-binary-, linux-modules- and linux-base-RELEASE)", len(found))
	}
	k := found[0]
	for _, place := range []string{"lib/modules", "usr/lib/modules"} {
		modules := filepath.Join(dir, place, k.release)
		if _, err := os.Stat(filepath.Join(modules, "kernel")); err == nil {
			k.modules = modules
			return k, nil
		}
	}
	return kernelFiles{}, fmt.Errorf("find the modules of kernel %s: the packages have none (Debian has them in linux-image-%[1]s or linux-modules-%[1]s)", k.release)
}
