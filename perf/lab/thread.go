package lab

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onSideThread runs f in a goroutine that is locked to an OS thread other than the process's first one, and waits.
// f reports whether the thread may be used again; if not, it dies. The first thread must keep its namespaces, since
// /proc/PID/ns shows those, and since it cannot die before the process does.
func onSideThread(f func() (reusable bool)) {
	finished := make(chan struct{})
	startSideThread(func() bool {
		defer close(finished)
		return f()
	})
	<-finished
}

// startSideThread is onSideThread without the waiting.
func startSideThread(f func() (reusable bool)) {
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			startSideThread(f) // this goroutine holds the first thread meanwhile, so it lands on another one
			close(started)
			runtime.UnlockOSThread()
			return
		}
		close(started)
		if f() {
			runtime.UnlockOSThread()
		}
	}()
	<-started
}
