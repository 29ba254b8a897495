package fib

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// region is zeroed memory outside of the Go heap, which the collector neither scans nor counts. Address space is taken
// for all of it; a page costs memory once it is written, and until then reads as zeros. It is given back when
// nothing refers to the region any more, whoever uses its words must therefore hold on to it.
type region struct {
	words []uint32
	huge  bool // the kernel has been asked for huge pages
	small bool // it refused
}

const hugePage = 2 << 20

// lead is how many bytes can be read before a region: what gathers 16 bits reads the 16 before them too.
const lead = 4096

// newRegion takes address space for n words. Huge ones serve tables of which every page will be written.
func newRegion(n int, huge bool) (*region, error) {
	if onHeap {
		return &region{words: make([]uint32, lead/4+n)[lead/4:]}, nil
	}
	size := (n*4 + hugePage - 1) &^ (hugePage - 1)
	all, err := unix.Mmap(-1, 0, lead+size+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("take %d MiB for a table: %w", size>>20, err)
	}
	r := &region{}
	runtime.AddCleanup(r, func(all []byte) { _ = unix.Munmap(all) }, all)
	skip := lead + -uintptr(unsafe.Pointer(&all[lead]))%hugePage
	aligned := all[skip : skip+uintptr(size)]
	advice := unix.MADV_NOHUGEPAGE
	if huge {
		advice = unix.MADV_HUGEPAGE
	}
	r.huge = unix.Madvise(aligned, advice) == nil && huge // EINVAL: a kernel without them
	r.small = huge && !r.huge
	r.words = unsafe.Slice((*uint32)(unsafe.Pointer(&aligned[0])), size/4)[:n]
	return r, nil
}
