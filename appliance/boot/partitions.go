package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// errNoPartition says that no disk has a partition of that name.
var errNoPartition = errors.New("there is no such partition")

// findPartition returns the device of the partition with a name in the GPT, below root. Of several the first in the order of
// names is taken.
func findPartition(root, label string) (device string, err error) {
	dir := filepath.Join(root, "/sys/class/block")
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("find partition %s: %w", label, err)
	}
	var found []string
	for _, entry := range list {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name(), "uevent"))
		if err != nil {
			continue // gone since
		}
		event := parseUevent(string(text))
		if event["DEVTYPE"] == "partition" && label != "" && event["PARTNAME"] == label && event["DEVNAME"] != "" {
			found = append(found, event["DEVNAME"])
		}
	}
	if len(found) == 0 {
		return "", fmt.Errorf("find partition %s: %w", label, errNoPartition)
	}
	return filepath.Join(root, "/dev", slices.Min(found)), nil
}

func parseUevent(text string) map[string]string {
	event := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			event[name] = value
		}
	}
	return event
}

// awaitPartition looks until the partition is there: drivers find disks in their own time.
func awaitPartition(ctx context.Context, root, label string) (device string, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		device, err = findPartition(root, label)
		if err == nil {
			if _, err = os.Stat(device); err == nil {
				return device, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-tick.C:
		}
	}
}
