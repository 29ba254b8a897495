package lab

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

var closeOnSignal sync.Once

// CloseOnSignal makes the process close all its laboratories when it receives SIGINT, SIGTERM or SIGHUP, and then
// die by that signal. Programs that handle signals themselves close their laboratories instead of calling this.
func CloseOnSignal() {
	closeOnSignal.Do(func() {
		received := make(chan os.Signal, 1)
		signal.Notify(received, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			sig := <-received
			if err := CloseAll(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			signal.Reset(sig)
			if s, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(os.Getpid(), s)
			}
		}()
	})
}
