package mgmt

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"weir/fib"
	"weir/policy"
)

// Limits on a routes-file. Its routes count towards routesMax.
const (
	lineMax       = 64 << 10 // bytes: hopsMax nexthops of 150 bytes fit
	routesFileMax = 1 << 30  // bytes
	filesMax      = 4096     // of a configuration
	sharedHopsMax = 1 << 16  // next hops that routes share; beyond, each route has its own
)

// readRoutesFile reads the routes of a table from a file of lines as ip-route(8) takes and prints them:
//
//	[TYPE] PREFIX [via ADDRESS] [dev PORT] [tos N] [metric N] [mtu N]
//	PREFIX {nexthop [via ADDRESS] [dev PORT] [weight N]}...
//	PREFIX lookup TABLE [on-miss return|resume]
//
// TYPE is unicast, blackhole, unreachable, prohibit or throw; PREFIX may be default. Where the table is keyed by
// source, PREFIX is that of the source. What the kernel prints and weir has no use for is skipped: proto, scope, src,
// pref, onlink. A # begins a comment.
func (d *decoder) readRoutesFile(table uint16, seen *routeSet, name string, at spot, p *path) {
	if len(d.files) > filesMax {
		d.errorf(at, p, "more than %d routes-files", filesMax)
		return
	}
	written := name
	name = d.beside(name)
	f, err := d.open(name)
	if err != nil {
		d.errorf(at, p, "%s: %v", clip(name), withoutPath(err))
		return
	}
	defer f.Close()
	d.files = append(d.files, name)
	r := &routesFile{
		d: d, table: table, seen: seen, p: p, file: uint32(len(d.files) - 1),
		gateways: map[string]netip.Addr{}, shared: map[sharedHop][]fib.NextHop{},
	}
	sum := sha256.New()
	if err := r.read(io.TeeReader(f, sum)); err != nil {
		d.errorf(at, p, "read %s: %v", clip(name), withoutPath(err))
	}
	d.sum.Write(sum.Sum(nil))
	if !slices.ContainsFunc(d.routesFiles, func(f RoutesFile) bool { return f.Path == name }) {
		d.routesFiles = append(d.routesFiles, RoutesFile{Name: written, Path: name, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	if r.errors > listedRoutesMax {
		d.found.add(spot{r.file, max(r.line, 1), 1}, p.String(), fmt.Sprintf("and %d more in this file", r.errors-listedRoutesMax), Error)
	}
}

// beside is the path of a file that the configuration names.
func (d *decoder) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

// routesFile is the reading of one file. Nothing in it grows with the file but the routes themselves.
type routesFile struct {
	d      *decoder
	table  uint16
	seen   *routeSet
	p      *path
	file   uint32
	line   uint32
	errors int

	gateways map[string]netip.Addr // addresses that were parsed, by their text; at most sharedHopsMax
	shared   map[sharedHop][]fib.NextHop
	draft    draftRoute
}

// sharedHop is a single next hop as it is written.
type sharedHop struct {
	gateway netip.Addr
	port    int32 // -1: to be inferred
}

var errTooLarge = errors.New("larger than 1 GiB")

func (r *routesFile) read(f io.Reader) error {
	buffer := bufio.NewReaderSize(f, lineMax)
	for size := 0; ; {
		text, err := buffer.ReadSlice('\n')
		if size += len(text); size > routesFileMax {
			return errTooLarge
		}
		r.line++
		if err == bufio.ErrBufferFull {
			r.report(1, "line is longer than %d bytes; the rest of the file is not read", lineMax)
			return nil
		}
		if r.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff")) // as in the configuration
		}
		if len(text) > 0 {
			r.decodeLine(bytes.TrimRight(text, "\r\n"))
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case r.line == math.MaxUint32, r.d.routes >= routesMax && r.errors > listedRoutesMax:
			return nil // reported with the last routes
		}
	}
}

// report takes a problem with the current line.
func (r *routesFile) report(column int, format string, args ...any) {
	if r.errors++; r.errors <= listedRoutesMax {
		r.d.errorf(spot{r.file, r.line, uint32(column)}, r.p, format, args...)
	} else {
		r.d.found.errors++
	}
}

// words splits a line. Its errors are sticky: the first one is reported, and every later call has no word.
type words struct {
	r     *routesFile
	line  []byte
	next  int // byte where the search for the next word begins
	start int // byte where the last word began
	wrong bool
}

// word returns the next word, or nil at the end of the line.
func (w *words) word() []byte {
	i := w.next
	for i < len(w.line) && isBlank(w.line[i]) {
		i++
	}
	w.start = i
	if w.wrong || i == len(w.line) || w.line[i] == '#' {
		w.next = i
		return nil
	}
	for i < len(w.line) && !isBlank(w.line[i]) {
		i++
	}
	w.next = i
	return w.line[w.start:i]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// column is that of the last word, in characters.
func (w *words) column() int { return utf8.RuneCount(w.line[:w.start]) + 1 }

// notText is the index of the first byte of a line that no text has there: a NUL, or what is not UTF-8.
func notText(line []byte) int {
	for i := 0; ; {
		r, size := utf8.DecodeRune(line[i:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
}

func (w *words) errorf(format string, args ...any) {
	if !w.wrong {
		w.r.report(w.column(), format, args...)
	}
	w.wrong = true
}

// argument returns the word behind a keyword, which must be there.
func (w *words) argument(what string) []byte {
	word := w.word()
	if word == nil {
		w.errorf("expected %s, found the end of the line", what)
	}
	return word
}

func (w *words) number(low, high uint64) uint64 {
	word := w.argument("a number")
	if word == nil {
		return 0
	}
	value, ok := parseNumber(string(word))
	if !ok || value < low || value > high {
		w.errorf("expected a number from %d to %d, found %s", low, high, clip(string(word)))
		return 0
	}
	return value
}

func (w *words) place() place {
	return place{spot{w.r.file, w.r.line, uint32(w.start + 1)}, w.r.p} // bytes are characters in words that were accepted
}

func (r *routesFile) decodeLine(line []byte) {
	w := &words{r: r, line: line}
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		w.start = notText(line)
		w.errorf("byte 0x%02x is not text", line[w.start])
		return
	}
	word := w.word()
	if word == nil {
		return
	}
	hops := r.draft.hops[:0]
	r.draft = draftRoute{place: w.place(), hops: hops}
	d := &r.draft
	typed := true
	switch string(word) {
	case "blackhole":
		d.action = fib.Blackhole
	case "unreachable":
		d.action = fib.Unreachable
	case "prohibit":
		d.action = fib.Prohibit
	case "throw":
		d.action = fib.Throw
	case "unicast":
		word, typed = w.argument("a prefix"), false
	case "local", "broadcast", "multicast", "anycast", "nat":
		w.errorf("routes of type %s are not written: own addresses are those of the ports", word)
	default:
		typed = false
	}
	if typed {
		word = w.argument("a prefix")
	}
	address, other := "to", "from"
	if r.d.policy.Tables[r.table].Key == policy.BySource {
		address, other = other, address
	}
	switch string(word) {
	case address:
		word = w.argument("a prefix")
	case other:
		w.errorf("the table's routes say %s", address)
	}
	d.prefixAt = w.place()
	if word != nil && !w.wrong && string(word) != "default" {
		d.prefix = r.prefix(w, word)
	}
	r.decodeAttributes(w, typed)
	if w.wrong {
		return
	}
	r.finish()
}

func (r *routesFile) prefix(w *words, word []byte) netip.Prefix {
	if prefix, ok := parsePrefix4(word); ok {
		return prefix
	}
	prefix, wrong := parsePrefix(string(word))
	if wrong != "" {
		w.errorf("%s", withFound(wrong, clip(string(word))))
	}
	return prefix
}

// decodeAttributes reads what follows the prefix.
func (r *routesFile) decodeAttributes(w *words, typed bool) {
	d := &r.draft
	var hop *draftHop // the one that via, dev and weight belong to
	nexthops := false
	current := func() *draftHop {
		if hop == nil {
			d.hops = append(d.hops, draftHop{place: w.place()})
			hop = &d.hops[len(d.hops)-1]
		}
		return hop
	}
	lookup, onMiss := false, false
	for word := w.word(); word != nil; word = w.word() {
		at := w.place()
		switch string(word) {
		case "via":
			text := w.argument("an address")
			if s := string(text); s == "inet" || s == "inet6" {
				text = w.argument("an address")
			}
			h := current()
			h.gateway = r.address(w, text)
			h.place = w.place()
		case "dev":
			h := current()
			if name := w.argument("a port"); name != nil {
				port, ok := r.d.names.ports[string(name)]
				if !ok {
					w.errorf("%s", r.d.unknownPort(string(name)))
				}
				h.port, h.hasPort = port, true
				if !h.gateway.IsValid() {
					h.place = w.place()
				}
			}
		case "weight":
			if !nexthops {
				w.errorf("weight belongs to nexthop")
			} else {
				current().weight = uint16(w.number(1, weightMax))
			}
		case "nexthop":
			if len(d.hops) > 0 && !nexthops {
				w.errorf("a route has either via and dev, or nexthops")
			} else if len(d.hops) >= hopsMax {
				w.errorf("more than %d nexthops", hopsMax)
			} else if hop != nil && !hop.gateway.IsValid() && !hop.hasPort {
				w.errorf("the nexthop before has neither via nor dev")
			}
			nexthops, hop = true, nil
			current()
		case "metric", "preference", "priority":
			d.metric = uint32(w.number(0, math.MaxUint32))
		case "tos", "dsfield":
			tos := w.number(0, 0xff)
			d.tosAt = w.place()
			if !w.wrong && (tos == 0 || tos&^0x1c != 0) {
				w.errorf("expected a tos from 0x04 to 0x1c in steps of 4, found %#x", tos)
			}
			d.tos = uint8(tos)
		case "mtu":
			text := w.argument("a number")
			if string(text) == "lock" {
				text = w.argument("a number")
			}
			mtu, ok := parseNumber(string(text))
			if text != nil && (!ok || mtu < mtuMin || mtu > mtuMax) {
				w.errorf("expected a number from %d to %d, found %s", mtuMin, mtuMax, clip(string(text)))
			}
			d.mtuAt, d.mtu = w.place(), uint16(mtu)
		case "lookup":
			lookup, d.action = true, fib.Lookup
			if typed {
				w.errorf("a route has a type or a lookup")
			} else if name := w.argument("a table"); name != nil {
				target, ok := r.d.names.tables[string(name)]
				if !ok {
					w.errorf("%s", r.d.unknownTable(string(name)))
				}
				d.target = target
			}
		case "on-miss":
			onMiss = true
			switch name := w.argument("return or resume"); string(name) {
			case "resume":
				d.resume = true
			case "return", "":
			default:
				w.errorf("expected return or resume, found %s", clip(string(name)))
			}
		case "table":
			name := string(w.argument("a table"))
			t := &r.d.policy.Tables[r.table]
			if id, ok := parseNumber(name); name != t.Name && (!ok || id != uint64(t.ID)) {
				w.errorf("the file is that of table %s", clip(t.Name))
			}
		case "proto", "protocol", "scope", "src", "pref":
			w.argument("a value")
		case "onlink":
		default:
			at.at.column = uint32(w.column())
			w.errorf("unknown word %s", clip(string(word)))
		}
		if w.wrong {
			return
		}
	}
	w.start = 0
	switch way := len(d.hops) > 0; {
	case (typed || lookup) && way:
		w.errorf("a route of type %v goes nowhere: it has no via and no dev", d.action)
	case !typed && !lookup && !way:
		w.errorf("route goes nowhere: it needs via, dev, nexthop, lookup or a type")
	case nexthops && !hop.gateway.IsValid() && !hop.hasPort:
		w.errorf("the last nexthop has neither via nor dev")
	case onMiss && !lookup:
		w.errorf("on-miss belongs to lookup")
	case d.mtu != 0 && !way:
		w.errorf("mtu belongs to a route that leaves by a port")
	}
}

func (r *routesFile) address(w *words, text []byte) netip.Addr {
	if text == nil {
		return netip.Addr{}
	}
	if addr, ok := r.gateways[string(text)]; ok {
		return addr
	}
	addr, wrong := parseAddress(string(text))
	if wrong != "" {
		w.errorf("%s", withFound(wrong, clip(string(text))))
	} else if len(r.gateways) < sharedHopsMax {
		r.gateways[string(text)] = addr
	}
	return addr
}

// finish enters the route. A single next hop is resolved once, and shared by all routes that have it.
func (r *routesFile) finish() {
	d := &r.draft
	report := func(at place, message string) { r.report(int(at.at.column), "%s", message) }
	if len(d.hops) != 1 || d.hops[0].weight > 1 {
		r.d.finishRoute(r.table, r.seen, d, report)
		return
	}
	k := sharedHop{d.hops[0].gateway, -1}
	if d.hops[0].hasPort {
		k.port = int32(d.hops[0].port)
	}
	// A gateway's family is checked against the prefix each time; the rest about it holds for every route.
	if ready := r.shared[k]; ready != nil && (!k.gateway.IsValid() || !d.prefix.IsValid() || k.gateway.Is4() == d.prefix.Addr().Is4()) {
		d.hopsReady = ready
	}
	hops := r.d.finishRoute(r.table, r.seen, d, report)
	if hops != nil && d.hopsReady == nil && len(r.shared) < sharedHopsMax {
		r.shared[k] = hops
	}
}

// parsePrefix4 reads the common case of parsePrefix, an IPv4 prefix in full, without allocating. It is false for
// everything else, which includes everything wrong.
func parsePrefix4(text []byte) (netip.Prefix, bool) {
	var octets [4]byte
	for i := range octets {
		end := bytes.IndexByte(text, "...//"[i])
		if end < 1 || end > 3 {
			return netip.Prefix{}, false
		}
		n := 0
		for _, c := range text[:end] {
			if c < '0' || c > '9' {
				return netip.Prefix{}, false
			}
			n = 10*n + int(c-'0')
		}
		if n > 255 || text[0] == '0' && end > 1 {
			return netip.Prefix{}, false
		}
		octets[i], text = byte(n), text[end+1:]
	}
	if len(text) < 1 || len(text) > 2 || text[0] == '0' && len(text) > 1 {
		return netip.Prefix{}, false
	}
	bits := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return netip.Prefix{}, false
		}
		bits = 10*bits + int(c-'0')
	}
	prefix := netip.PrefixFrom(netip.AddrFrom4(octets), bits)
	return prefix, bits <= 32 && prefix == prefix.Masked()
}
