package mgmt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"weir/fib"
	"weir/policy"
)

// RouteChangeSyntax is what a line of changes may be. Its words are those of ip-route(8).
const RouteChangeSyntax = "add|replace|delete TABLE [TYPE] PREFIX [via ADDRESS] [dev PORT] [tos N] [metric N] [mtu N] [nexthop [via ADDRESS] [dev PORT] [weight N]]..."

// RouteChange is what a line of changes says.
type RouteChange = policy.RouteChange

// ParseRouteChange reads a change of a table's routes:
//
//	add|replace|delete TABLE [TYPE] PREFIX [via ADDRESS] [dev PORT] [tos N] [metric N] [mtu N]
//	add|replace TABLE PREFIX {nexthop [via ADDRESS] [dev PORT] [weight N]}...
//
// TYPE is unicast, blackhole, unreachable, prohibit or throw, and may stand behind the prefix too, which may be default. What is
// deleted is the route of that prefix, TOS and metric, whatever else the line says. A # begins a comment; ok is false where there
// is nothing else.
func ParseRouteChange(line string) (c RouteChange, ok bool, err error) {
	if !utf8.ValidString(line) || strings.IndexByte(line, 0) >= 0 {
		return c, false, errors.New("not text")
	}
	line, _, _ = strings.Cut(line, "#")
	w := changeWords(strings.Fields(line))
	if len(w) == 0 {
		return c, false, nil
	}
	switch word := w.next(); word {
	case "add":
		c.Op = policy.AddRoute
	case "replace":
		c.Op = policy.ReplaceRoute
	case "delete", "del":
		c.Op = policy.DeleteRoute
	default:
		return c, false, fmt.Errorf("expected add, replace or delete, found %s", clip(word))
	}
	if c.Table = w.next(); c.Table == "" {
		return c, false, errors.New("expected a table, found the end of the line")
	}
	word, typed := w.next(), false
	if c.Action, typed = routeTypes[word]; typed {
		word = w.next()
	}
	if word == "" {
		return c, false, errors.New("expected a prefix, found the end of the line")
	}
	if word != "default" {
		prefix, wrong := parsePrefix(word)
		if wrong != "" {
			return c, false, errors.New(withFound(wrong, clip(word)))
		}
		c.Prefix = prefix
	}
	if err := w.attributes(&c, typed); err != nil {
		return c, false, err
	}
	if word == "default" {
		if len(c.Hops) == 0 || !c.Hops[0].Gateway.IsValid() {
			return c, false, errors.New("default without a gateway is of no family: write 0.0.0.0/0 or ::/0")
		}
		c.Prefix = defaultPrefix(familyOf(c.Hops[0].Gateway))
	}
	return c, true, nil
}

var routeTypes = map[string]fib.Action{"unicast": fib.Unicast, "blackhole": fib.Blackhole, "unreachable": fib.Unreachable, "prohibit": fib.Prohibit, "throw": fib.Throw}

// changeWords are what is left of a line.
type changeWords []string

// next takes the next word, or none at the end of the line.
func (w *changeWords) next() (word string) {
	if len(*w) > 0 {
		word, *w = (*w)[0], (*w)[1:]
	}
	return word
}

func (w *changeWords) number(of string, low, high uint64) (uint64, error) {
	word := w.next()
	value, ok := parseNumber(word)
	switch {
	case word == "":
		return 0, fmt.Errorf("%s: expected a number, found the end of the line", of)
	case !ok || value < low || value > high:
		return 0, fmt.Errorf("%s: expected a number from %d to %d, found %s", of, low, high, clip(word))
	}
	return value, nil
}

// attributes reads what follows the prefix.
func (w *changeWords) attributes(c *RouteChange, typed bool) error {
	nexthops := false
	hop := func() *policy.RouteHop { // the one that via, dev and weight belong to
		if len(c.Hops) == 0 {
			c.Hops = make([]policy.RouteHop, 1)
		}
		return &c.Hops[len(c.Hops)-1]
	}
	for word := w.next(); word != ""; word = w.next() {
		var n uint64
		var err error
		switch word {
		case "via":
			text := w.next()
			if text == "inet" || text == "inet6" {
				text = w.next()
			}
			addr, wrong := parseAddress(text)
			if wrong != "" {
				return errors.New("via: " + withFound(wrong, clip(text)))
			}
			hop().Gateway = addr
		case "dev":
			if hop().Port = w.next(); hop().Port == "" {
				return errors.New("dev: expected a port, found the end of the line")
			}
		case "nexthop":
			switch {
			case len(c.Hops) > 0 && !nexthops:
				return errors.New("a route has either via and dev, or nexthops")
			case len(c.Hops) >= hopsMax:
				return fmt.Errorf("more than %d nexthops", hopsMax)
			}
			nexthops, c.Hops = true, append(c.Hops, policy.RouteHop{})
		case "weight":
			if !nexthops {
				return errors.New("weight belongs to nexthop")
			}
			n, err = w.number(word, 1, weightMax)
			hop().Weight = uint16(n)
		case "metric", "preference", "priority":
			n, err = w.number(word, 0, math.MaxUint32)
			c.Metric = uint32(n)
		case "tos", "dsfield":
			n, err = w.number(word, 0, 0xff)
			if c.TOS = uint8(n); err == nil && (n == 0 || n&^0x1c != 0) {
				err = fmt.Errorf("%s: expected one from 0x04 to 0x1c in steps of 4, found %#x", word, n)
			}
		case "mtu":
			n, err = w.number(word, mtuMin, mtuMax)
			c.MTU = uint16(n)
		case "proto", "protocol", "scope", "src", "pref": // what the kernel prints, and weir has no use for
			w.next()
		case "onlink":
		default:
			action, ok := routeTypes[word]
			if !ok || typed {
				return fmt.Errorf("unknown word %s", clip(word))
			}
			c.Action, typed = action, true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// routeChangesMost is how many changes ReadRouteChanges hands on at once.
const routeChangesMost = 1024

// ReadRouteChanges reads changes, one a line, and hands them to apply with the numbers of their lines: when there are many, or
// when no more have come yet, so that a stream that pauses is not behind. Lines that are none it refuses. A last line without an end
// is one, since whoever sent it has died.
func ReadRouteChanges(in io.Reader, apply func(changes []RouteChange, lines []int) error, refuse func(line int, err error)) error {
	buffer := bufio.NewReaderSize(in, lineMax)
	changes, lines := make([]RouteChange, 0, routeChangesMost), make([]int, 0, routeChangesMost)
	for number := 1; ; number++ {
		text, err := buffer.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			err = fmt.Errorf("line %d is longer than %d bytes", number, lineMax)
		case err == io.EOF && len(text) > 0:
			refuse(number, errors.New("the line has no end"))
		case err == nil:
			c, ok, wrong := ParseRouteChange(string(text))
			if wrong != nil {
				refuse(number, wrong)
			} else if ok {
				changes, lines = append(changes, c), append(lines, number)
			}
		}
		if len(changes) == cap(changes) || len(changes) > 0 && (err != nil || !lineReady(buffer)) {
			if err := apply(changes, lines); err != nil {
				return err
			}
			clear(changes)
			changes, lines = changes[:0], lines[:0]
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// lineReady reports whether another line can be read without waiting.
func lineReady(r *bufio.Reader) bool {
	waiting, _ := r.Peek(r.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}
