package traffic

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// ReadPrefixes reads a file with a prefix a line, of either family, which may be compressed (.gz). What follows on a line is left
// alone, so that routes-files do too. Each prefix comes once.
func ReadPrefixes(name string) (list []netip.Prefix, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read prefixes: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("read prefixes from %s: %w", name, err)
		}
	}
	seen := make(map[netip.Prefix]bool)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		p, err := netip.ParsePrefix(fields[0])
		if err != nil {
			return nil, fmt.Errorf("read prefixes from %s: line %d: %w", name, n, err)
		}
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read prefixes from %s: %w", name, err)
	}
	return list, nil
}
