package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"weir/policy/packet"
)

// ParsePacketJSON reads the description of a packet from one JSON object, such as {"iif":"em0","src":"10.0.0.1",
// "dst":"10.0.0.2","dport":53}. The names are those of ParsePacket.
//
// It is a scanner for just that, a flat object of strings, numbers and truth values: encoding/json takes about
// five times as long, and says nothing about a name given twice.
func (s *Snapshot) ParsePacketJSON(line []byte) (packet.Key, error) {
	p, j := newPacketSpec(s), scanner{text: string(line)}
	err := j.object(&p)
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		return packet.Key{}, fmt.Errorf("parse packet: %w", err)
	}
	return p.key, nil
}

// scanner reads JSON (RFC 8259) from text at position at.
type scanner struct {
	text string
	at   int
}

// object reads the whole text as one flat object.
func (j *scanner) object(p *packetSpec) error {
	if !utf8.ValidString(j.text) {
		return fmt.Errorf("not UTF-8")
	}
	if !j.take('{') {
		return j.unexpected("{")
	}
	for first := true; !j.take('}'); first = false {
		if !first && !j.take(',') {
			return j.unexpected(", or }")
		}
		j.space()
		name, err := j.quoted()
		if err != nil {
			return err
		}
		if !j.take(':') {
			return j.unexpected(":")
		}
		value, kind, err := j.value()
		if err != nil {
			return err
		}
		if err := p.set(name, value, kind); err != nil {
			return err
		}
	}
	j.space()
	if j.at < len(j.text) {
		return j.unexpected("the end")
	}
	return nil
}

func (j *scanner) value() (string, valueKind, error) {
	j.space()
	if j.at == len(j.text) {
		return "", 0, j.unexpected("a value")
	}
	switch c := j.text[j.at]; {
	case c == '"':
		v, err := j.quoted()
		return v, jsonString, err
	case '0' <= c && c <= '9':
		start := j.at
		for j.at < len(j.text) && '0' <= j.text[j.at] && j.text[j.at] <= '9' {
			j.at++
		}
		if j.at < len(j.text) && strings.IndexByte(".eExX", j.text[j.at]) >= 0 {
			return "", 0, j.unexpected("a whole decimal number")
		}
		return j.text[start:j.at], jsonNumber, nil
	}
	for _, v := range [...]string{"true", "false"} {
		if strings.HasPrefix(j.text[j.at:], v) {
			j.at += len(v)
			return v, jsonBool, nil
		}
	}
	return "", 0, j.unexpected("a string or a number from 0 up")
}

// quoted reads a string. One with escapes, which no ordinary description has, is left to encoding/json.
func (j *scanner) quoted() (string, error) {
	if j.at == len(j.text) || j.text[j.at] != '"' {
		return "", j.unexpected("a string")
	}
	start, escapes := j.at, false
	for i := start + 1; i < len(j.text); i++ {
		switch c := j.text[i]; {
		case c == '\\':
			escapes = true
			i++
		case c < ' ':
			j.at = i
			return "", j.unexpected("a string without control characters")
		case c == '"':
			j.at = i + 1
			if !escapes {
				return j.text[start+1 : i], nil
			}
			var s string
			if err := json.Unmarshal([]byte(j.text[start:j.at]), &s); err != nil {
				return "", fmt.Errorf("column %d: %w", start+1, err)
			}
			return s, nil
		}
	}
	j.at = len(j.text)
	return "", j.unexpected(`"`)
}

// take skips space and then c, if it is there.
func (j *scanner) take(c byte) bool {
	j.space()
	if j.at < len(j.text) && j.text[j.at] == c {
		j.at++
		return true
	}
	return false
}

func (j *scanner) space() {
	for j.at < len(j.text) {
		switch j.text[j.at] {
		case ' ', '\t', '\r', '\n':
			j.at++
		default:
			return
		}
	}
}

// unexpected is the error for what stands at the scanner's place; columns count bytes from 1.
func (j *scanner) unexpected(want string) error {
	if j.at >= len(j.text) {
		return fmt.Errorf("column %d: ends where %s belongs", j.at+1, want)
	}
	r, _ := utf8.DecodeRuneInString(j.text[j.at:])
	return fmt.Errorf("column %d: %q where %s belongs", j.at+1, r, want)
}
