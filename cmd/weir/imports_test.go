package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms is the table of ARCHITECTURE.md: what each folder may import of weir. A folder that is not listed may not exist.
var rooms = map[string][]string{
	"rings/steer":            {},
	"rings/ethtool":          {},
	"rings":                  {"rings/steer", "rings/ethtool"},
	"policy/packet":          {},
	"fib":                    {},
	"fib/asm":                {},
	"policy":                 {"policy/packet", "fib"},
	"policy/asm":             {},
	"policy/oracle":          {"policy", "policy/packet", "fib"},
	"appliance/cpulist":      {},
	"appliance":              {"appliance/cpulist", "rings", "policy/packet", "policy", "fib"},
	"appliance/boot":         {"appliance/cpulist", "appliance/image/layout"},
	"appliance/management":   {},
	"appliance/image":        {"appliance/image/layout"},
	"appliance/image/layout": {},
	"appliance/image/vm":     {"appliance/image/layout", "perf/lab"},
	"mgmt/document":          {},
	"mgmt/store":             {},
	"mgmt":                   {"mgmt/document", "mgmt/store", "policy", "policy/packet", "fib"},
	"mgmt/ssh":               {"mgmt", "mgmt/document"},
	"mgmt/web":               {},
	"perf/lab":               {"rings/ethtool"},
	"perf/lab/demo":          {"perf/lab"},
	"perf/environment":       {"rings/ethtool"},
	"perf/trial":             {},
	"perf/traffic":           {"rings", "perf/trial"},
	"perf/procedure":         {"perf/trial"},
	"perf/report":            {"perf/environment", "perf/trial", "perf/procedure"},
	"perf":                   {"rings", "policy/packet", "perf/lab", "perf/environment", "perf/trial", "perf/traffic"},
	"perf/versus":            {"perf", "perf/lab", "perf/environment"},
	"cmd/weir":               {"appliance", "appliance/boot", "appliance/management", "appliance/image", "appliance/image/layout", "mgmt", "mgmt/ssh", "mgmt/store", "mgmt/web", "policy", "policy/packet", "perf", "perf/environment", "perf/trial", "perf/traffic", "perf/procedure", "perf/report", "perf/lab/demo"},
}

// keepers says who alone may import a module.
var keepers = map[string][]string{
	"github.com/asavie/xdp":                   {"rings"},
	"github.com/cilium/ebpf":                  {"rings", "rings/steer", "perf", "perf/traffic", "perf/versus"},
	"github.com/gaissmai/bart":                {"fib"},
	"github.com/goccy/go-yaml":                {"mgmt/document", "perf/traffic"},
	"github.com/mmcloughlin/avo":              {"fib/asm", "policy/asm"},
	"github.com/alecthomas/kong":              {"cmd/weir"},
	"github.com/gopacket/gopacket":            {"appliance"},
	"github.com/insomniacslk/dhcp":            {"appliance/management"},
	"github.com/HdrHistogram/hdrhistogram-go": {"perf/trial"},
	"github.com/pkg/sftp":                     {"mgmt/ssh"},
	"github.com/diskfs/go-diskfs":             {"appliance/image", "appliance/image/vm"},
	"github.com/klauspost/compress":           {"appliance/image"},
	"golang.org/x/crypto":                     {"mgmt/ssh", "appliance/image/vm"},
	"golang.org/x/term":                       {"mgmt/ssh"},
	"github.com/prometheus/client_golang":     {"appliance", "cmd/weir"},
}

// TestImports parses the sources, rather than asking `go list`, so that go test sees what it depends on and never
// answers from its cache for a tree that has changed.
func TestImports(t *testing.T) {
	const root = "../.."
	seen := make(map[string]bool)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		room := path.Dir(filepath.ToSlash(relative))
		allowed, ok := rooms[room]
		if !ok {
			t.Errorf("%s: folder %s is not in the table of rooms", relative, room)
			return nil
		}
		seen[room] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			check(t, relative, room, allowed, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("room %s of the table has no Go files", room)
		}
	}
}

func check(t *testing.T, file, room string, allowed []string, imported string) {
	isTest := strings.HasSuffix(file, "_test.go")
	if other, ok := strings.CutPrefix(imported, "weir/"); ok {
		self := other == room // an external test package imports its own
		lab := isTest && (other == "perf/lab" || other == "perf/versus" || other == "appliance/image/vm" || room == "cmd/weir" || room == "mgmt/ssh" && other == "policy")
		schema := isTest && room == "mgmt/document" && other == "mgmt" // the language that documents are in
		if !self && !lab && !schema && !slices.Contains(allowed, other) {
			t.Errorf("%s: %s may not import %s", file, room, other)
		}
		return
	}
	for module, who := range keepers {
		if (imported == module || strings.HasPrefix(imported, module+"/")) && !isTest && !slices.Contains(who, room) {
			t.Errorf("%s: only %v may import %s", file, who, module)
		}
	}
}
