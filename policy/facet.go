package policy

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// facet gives the values of one dimension their classes. Those of up to 16 bits are looked up in pages of 256, others
// by halves among the bounds where the class changes, from a place that the value's upper bits lead to.
type facet struct {
	dim   dimension // the fragment is in dimProto, above the protocol
	mask  uint32    // of the numbers: a condition on VALUE/MASK is one on masked numbers
	rules bool      // ports are as rules see them
	form  facetForm

	pageOf [256]uint8 // by the upper eight bits
	pages  []uint32   // of classes

	narrow  []uint32 // bounds, in ascending order: classOf[i] is of the values from bound i on
	wide    []u128   // the same of IPv6 addresses
	classOf []uint32
	root    []uint32 // index of the last bound up to each step from base; of the first step 0
	base    uint64   // the least bound but 0; of IPv6 addresses the upper half of it
	shift   uint8    // a step is 1<<shift
	steps   rankSteps
}

// rankSteps is what it takes to find ranks: bounds, the last of which is followed by as many that nothing reaches as a search looks
// ahead. Vectors know it by its layout.
type rankSteps struct {
	base, most, last, shift uint32     // of byNarrow; most is the last step but one of the root
	half                    [18]uint32 // what to look ahead by in turn: powers of two down to 1, then 0
}

// formOf is how a dimension's facets are looked up, and its last value, of those that fit in the form.
func formOf(d dimension, ipv6 bool) (form facetForm, last u128) {
	switch {
	case (d == dimFrom || d == dimTo) && ipv6:
		return byWide, u128{math.MaxUint64, math.MaxUint64}
	case d == dimFrom || d == dimTo || d == dimMark || d == dimFlow:
		return byNarrow, number128(math.MaxUint32)
	}
	return byPage, number128(math.MaxUint16)
}

// facetForm is how a facet is looked up.
type facetForm uint8

const (
	byPage facetForm = iota
	byNarrow
	byWide
)

// class is that of the packet.
func (c *facet) class(f *flow) uint32 {
	switch c.dim {
	case dimFrom:
		return c.address(&f.key.Src)
	case dimTo:
		return c.address(&f.key.Dst)
	case dimMark:
		return c.among(f.mark & c.mask)
	case dimFlow:
		return c.among(f.key.FlowLabel & c.mask)
	case dimProto:
		return c.page(uint32(f.key.Fragment)<<8 | uint32(f.key.Proto))
	}
	return c.page(c.value(f) & c.mask)
}

// page is the class of a number of 16 bits.
func (c *facet) page(x uint32) uint32 { return c.pages[uint32(c.pageOf[x>>8&0xff])<<8|x&0xff] }

// value is the packet's in a dimension of up to 16 bits.
func (c *facet) value(f *flow) uint32 {
	k := f.key
	switch c.dim {
	case dimIngress:
		return uint32(k.Ingress)
	case dimDSCP:
		return uint32(f.tos >> 2)
	case dimProto:
		return uint32(k.Proto)
	case dimFragment:
		return uint32(k.Fragment)
	case dimSport:
		if c.rules {
			return uint32(f.sport)
		}
		return uint32(k.SrcPort)
	case dimDport:
		if c.rules {
			return uint32(f.dport)
		}
		return uint32(k.DstPort)
	case dimICMPType:
		return uint32(k.ICMPType)
	case dimICMPCode:
		return uint32(k.ICMPCode)
	case dimTCPFlags:
		return uint32(k.TCPFlags)
	case dimLength:
		return uint32(k.Length)
	case dimTTL:
		return uint32(k.TTL)
	}
	return 0
}

func (c *facet) address(a *[16]byte) uint32 {
	if c.form == byNarrow {
		return c.among(binary.BigEndian.Uint32(a[12:]))
	}
	return c.amongWide(u128{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])})
}

func (c *facet) among(x uint32) uint32 {
	at, n := c.from(uint64(x))
	for n > 1 {
		half := n / 2
		next := at + half
		if c.narrow[next] > x {
			next = at
		}
		at = next
		n -= half
	}
	return c.classOf[at]
}

func (c *facet) amongWide(x u128) uint32 {
	at, n := c.from(x.hi)
	for n > 1 {
		half := n / 2
		next := at + half
		b := &c.wide[next]
		_, borrow := bits.Sub64(x.lo, b.lo, 0)
		if _, borrow = bits.Sub64(x.hi, b.hi, borrow); borrow != 0 {
			next = at
		}
		at = next
		n -= half
	}
	return c.classOf[at]
}

// rank is the index of the last bound up to x. It takes all values as many steps, none of which is a jump.
func (c *facet) rank(x uint32) uint16 {
	at, _ := c.from(uint64(x))
	for _, half := range c.steps.half {
		if half == 0 {
			break
		}
		_, less := bits.Sub64(uint64(x), uint64(c.narrow[at+half]), 0)
		at += half & (uint32(less) - 1)
	}
	return uint16(min(at, c.steps.last))
}

func (c *facet) rankWide(x u128) uint16 {
	at, _ := c.from(x.hi)
	for _, half := range c.steps.half {
		if half == 0 {
			break
		}
		b := &c.wide[at+half]
		_, less := bits.Sub64(x.lo, b.lo, 0)
		_, less = bits.Sub64(x.hi, b.hi, less)
		at += half & (uint32(less) - 1)
	}
	return uint16(min(at, c.steps.last))
}

// from is where the bounds begin that the value may be behind, and their number.
func (c *facet) from(x uint64) (at, n uint32) {
	step := min((max(x, c.base)-c.base)>>(c.shift&63), uint64(len(c.root)-2))
	at = c.root[step]
	return at, c.root[step+1] - at + 1
}

// ranksFew bounds are searched in registers.
const ranksFew = 32

// rootMax bounds the steps of a root.
const rootMax = 1 << 16

// lay makes what is looked up of the bounds, the first of which is 0, and their classes.
func (c *facet) lay(bounds []u128, classOf []uint32) {
	if c.form == byPage {
		c.layPages(bounds, classOf)
		return
	}
	c.classOf = classOf
	upper := func(b u128) uint64 {
		if c.form == byWide {
			return b.hi
		}
		return b.lo
	}
	if c.form == byWide {
		c.wide = bounds
	} else {
		c.narrow = make([]uint32, len(bounds))
		for i, b := range bounds {
			c.narrow[i] = uint32(b.lo)
		}
	}
	last := len(bounds) - 1
	c.base = upper(bounds[min(1, last)])
	steps := min(rootMax, 2<<bits.Len(uint(last)))
	reach := upper(bounds[last]) - c.base
	for reach>>c.shift >= uint64(steps) {
		c.shift++
	}
	c.root = make([]uint32, reach>>c.shift+2)
	at := 0
	for step := 1; step < len(c.root)-1; step++ {
		begin := u128{lo: c.base + uint64(step)<<c.shift}
		if c.form == byWide {
			begin = u128{hi: begin.lo}
		}
		for at < last && bounds[at+1].compare(begin) <= 0 {
			at++
		}
		c.root[step] = uint32(at)
	}
	c.root[len(c.root)-1] = uint32(last)
}

// layRanks makes what ranks are looked up by.
func (c *facet) layRanks(bounds []u128) {
	c.lay(bounds, nil)
	most := uint32(1)
	for i := range len(c.root) - 1 {
		most = max(most, c.root[i+1]-c.root[i])
	}
	c.steps = rankSteps{base: uint32(c.base), most: uint32(len(c.root) - 2), last: uint32(len(bounds) - 1), shift: uint32(c.shift)}
	ahead := 1 << bits.Len32(most)
	for i := range c.steps.half {
		c.steps.half[i] = uint32(ahead) >> (i + 1)
	}
	for range max(ahead, ranksFew) {
		if c.form == byWide {
			c.wide = append(c.wide, u128{math.MaxUint64, math.MaxUint64})
		} else {
			c.narrow = append(c.narrow, math.MaxUint32)
		}
	}
}

// layPages lays out a class for each number of 16 bits, and each page once.
func (c *facet) layPages(bounds []u128, classOf []uint32) {
	seen := map[[256]uint32]uint8{}
	at := 0
	for upper := range 256 {
		var page [256]uint32
		for lower := range page {
			for at+1 < len(bounds) && bounds[at+1].lo <= uint64(upper<<8|lower) {
				at++
			}
			page[lower] = classOf[at]
		}
		number, ok := seen[page]
		if !ok {
			number = uint8(len(seen))
			seen[page] = number
			c.pages = append(c.pages, page[:]...)
		}
		c.pageOf[upper] = number
	}
}

// size is the memory that the facet's look-up takes, in words.
func (c *facet) size() int {
	return len(c.wide)*2 + (len(c.pages)+len(c.narrow)+len(c.classOf)+len(c.root))/2
}
