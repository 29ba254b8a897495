package mgmt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"weir/mgmt/document"
	"weir/policy"
)

// Config is a checked configuration. It is immutable.
type Config struct {
	Name     string // of the file
	Text     []byte // as it was read, comments included
	Hash     string // of the text and of the sums of the routes-files, in hexadecimal
	System   System
	Policy   *policy.Policy // its rules are in the order of the walk: their indexes are those of the snapshot
	Snapshot *policy.Snapshot
	Warnings Problems

	files  []string
	routes []RoutesFile
	places places
}

// RoutesFile is a routes-file as it was read.
type RoutesFile struct {
	Name   string // as the text gives it
	Path   string
	SHA256 string // of what is in it
}

// RoutesFiles lists the routes-files that the configuration has, each once.
func (c *Config) RoutesFiles() []RoutesFile { return slices.Clone(c.routes) }

// PortPosition is where the file has port i of Policy.Ports.
func (c *Config) PortPosition(i int) Position { return c.position(c.places.ports, i) }

// TablePosition is where the file has table i of Policy.Tables, and the zero Position if it does not name it.
func (c *Config) TablePosition(i int) Position { return c.position(c.places.tables, i) }

// RulePosition is where the file has rule i of Policy.Rules, and the zero Position of a default rule.
func (c *Config) RulePosition(i int) Position { return c.position(c.places.rules, i) }

// ChainPosition is where the file has chain i of Policy.Marks.
func (c *Config) ChainPosition(i int) Position { return c.position(c.places.chains, i) }

// StatementPosition is where the file has statement i of Policy.Marks[chain].
func (c *Config) StatementPosition(chain, i int) Position {
	return c.position(c.places.statements[chain], i)
}

// RoutePosition is where the file, or the routes-file, has route i of Policy.Tables[table]. Routes that a port brings
// are where its address is.
func (c *Config) RoutePosition(table, i int) Position { return c.position(c.places.routes[table], i) }

func (c *Config) workersPosition() Position { return c.position([]spot{c.places.workers}, 0) }

func (c *Config) position(spots []spot, i int) Position {
	if spots[i] == (spot{}) {
		return Position{}
	}
	return Position{c.files[spots[i].file], int(spots[i].line), int(spots[i].column)}
}

// Load reads and checks a configuration file, and the routes-files that it names, relative to its own directory. The
// problems are complete, not just the first. The Config is nil if one of them is an error.
func Load(name string) (*Config, Problems) {
	refuse := func(err error) (*Config, Problems) {
		return nil, Problems{{Position: Position{File: name}, Message: err.Error(), Severity: Error}}
	}
	f, err := openRegular(name)
	if err != nil {
		return refuse(withoutPath(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, document.TextMax+1)) // one more, for Parse to see that it is too long
	if err != nil {
		return refuse(withoutPath(err))
	}
	return Parse(name, text, openRegular)
}

// errNotRegular refuses what may have no end, or block.
var errNotRegular = errors.New("not a regular file")

func openRegular(name string) (io.ReadCloser, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// withoutPath is `open: no such file or directory`, for messages that begin with the path.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}

var topKeys = section{keys: []string{
	"version", "system", "ports", "neighbors", "groups", "sets", "tags", "tables", "marks", "rules", "default-rules", "fragments", "assert",
}}

// Parse checks the text of a configuration. The name is that of its file, for messages and to find the routes-files
// beside it, which open opens. Memory and time are bounded by the sizes of the text and of the files, all of which
// have limits.
func Parse(name string, text []byte, open func(path string) (io.ReadCloser, error)) (*Config, Problems) {
	d := newDecoder(name, open)
	d.sum.Write(text)
	root, err := parseTree(text)
	if err != nil {
		at := spot{line: 1, column: 1}
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			at = syntax.at
		}
		d.found.add(at, "", err.Error(), Error)
		return nil, d.found.problems(d.files)
	}
	d.decode(&root)
	config := &Config{
		Name: name, Text: slices.Clone(text), System: d.system, Policy: &d.policy,
		Hash: hex.EncodeToString(d.sum.Sum(nil)), files: d.files, routes: d.routesFiles, places: d.places,
	}
	config.Policy.Hostname = d.system.Hostname
	if d.found.errors == 0 {
		config.Snapshot = d.compile()
	} else {
		d.addRemarks(policy.CheckLookups(&d.policy), Error)
	}
	problems := d.found.problems(d.files)
	if problems.Refused() {
		return nil, problems
	}
	config.Warnings = problems
	return config, problems
}

func newDecoder(name string, open func(path string) (io.ReadCloser, error)) *decoder {
	return &decoder{
		policy: policy.Policy{ICMP: policy.DefaultICMPLimits},
		files:  []string{name},
		names:  names{ports: map[string]uint16{}, tables: map[string]uint16{}, groups: map[string]uint32{}, chains: map[string]uint16{}, rules: map[string]spot{}},
		links:  newLinks(),
		marks:  map[string]masked{},
		sets:   map[string]*set{},
		tags:   map[string]*named{}, groups: map[string]*named{},
		sum:  sha256.New(),
		dir:  filepath.Dir(name),
		open: open,
	}
}

// decode reads the sections in the order in which they need one another.
func (d *decoder) decode(root *node) {
	type found struct {
		n *node
		p *path
	}
	sections := map[string]found{}
	if root.kind != mapping && root.kind != nothing {
		d.errorf(root.at, nil, "expected a configuration that begins with `version: 1`, found %s", root)
		return
	}
	d.fields(root, nil, &topKeys, func(k key, v *node, p *path) { sections[k.text] = found{v, p} })

	version, ok := sections["version"]
	d.required(root, nil, "version", ok)
	if ok {
		if v := version.n; v.kind != scalar || v.quoted || v.text != "1" {
			d.errorf(v.at, version.p, "expected 1, the only version there is, found %s", v)
		}
	}
	d.startTables()
	for _, s := range []struct {
		key    string
		decode func(*node, *path)
	}{
		{"system", d.decodeSystem},
		{"groups", d.decodeGroups},
		{"tags", d.decodeTags},
		{"sets", d.decodeSets},
		{"ports", d.decodePorts},
		{"neighbors", d.decodeNeighbors},
		{"tables", d.decodeTables},
		{"marks", d.decodeMarks},
	} {
		if f, ok := sections[s.key]; ok {
			s.decode(f.n, f.p)
		}
		if s.key == "ports" {
			d.checkManagement()
			d.numberGroups()
		}
	}
	defaults := true
	if f, ok := sections["default-rules"]; ok {
		defaults, _ = d.boolean(f.n, f.p)
		if !defaults && d.policy.KernelRoutes {
			d.warnf(f.n.at, f.p, "kernel routes: the kernel keeps its own default rules all the same: there what no rule decides is looked up in main")
		}
	}
	if defaults {
		d.addDefaultRules()
	}
	if f, ok := sections["fragments"]; ok {
		word, _ := d.word(f.n, f.p, "linux", "consistent")
		d.policy.ConsistentFragments = word == "consistent"
		if d.policy.ConsistentFragments && d.policy.KernelRoutes {
			d.warnf(f.n.at, f.p, "kernel routes: to the kernel's rules fragments have no ports")
		}
	}
	rules, ok := sections["rules"]
	if !ok {
		rules = found{&node{}, nil}
	}
	d.decodeRules(rules.n, rules.p)
	d.warnUnused()
}
