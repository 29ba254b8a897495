package vm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// console collects what a machine prints. One goroutine writes, any may wait.
type console struct {
	mu      sync.Mutex
	all     strings.Builder
	seen    int           // what was awaited ends here
	changed chan struct{} // closed and made anew with every change
	ended   bool
}

func newConsole() *console { return &console{changed: make(chan struct{})} }

// Write adds to what there is.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.Write(b)
	c.change()
	return len(b), nil
}

// end says that nothing more will come.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.change()
}

func (c *console) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.String()
}

// await waits for an expression behind what was awaited before.
func (c *console) await(expression *regexp.Regexp, patience time.Duration) ([]string, error) {
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		rest, changed, ended := c.all.String()[c.seen:], c.changed, c.ended
		if at := expression.FindStringSubmatchIndex(rest); at != nil {
			match := expression.FindStringSubmatch(rest)
			c.seen += at[1]
			c.mu.Unlock()
			return match, nil
		}
		c.mu.Unlock()
		if ended {
			return nil, errors.New("the machine is off")
		}
		select {
		case <-changed:
		case <-deadline:
			return nil, fmt.Errorf("not within %v", patience)
		}
	}
}
