package document

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Form says how a part of the configuration is written, and so how an operator names what is in it.
type Form uint8

// Forms.
const (
	Value   Form = iota // one scalar
	Section             // a mapping whose keys are Keys
	Named               // a mapping whose keys the user chooses, to Each
	Entries             // a list of sections Each, which the values of their keys By tell apart, or else their indexes
	Values              // a list of scalars
	Choice              // a word, or a mapping of one of Keys
	Actions             // a list of choices; what is Final comes last, and alone
)

// Type is what a scalar is, beyond being one.
type Type uint8

// Types of scalars.
const (
	Text Type = iota
	Number
	Boolean
)

// Schema describes a part of the configuration language: enough to find what an operator's words mean, to complete them, and to
// refuse what has the wrong shape. What a configuration means is for mgmt to say.
type Schema struct {
	Key     string
	Help    string // a line for those who ask what the key does
	Form    Form
	Keys    []*Schema // of a Section, Choice or Actions
	Each    *Schema   // of Named and Entries; its Key is what an operator calls such a thing
	By      []string  // Entries: keys whose value names an entry; it has one of them
	ByWhere [2]string // Entries: key and value of the section around the list by which a new entry has the second of By
	Also    []string  // Entries: keys that tell entries of the same name apart
	Type    Type      // Value, Values
	Words   []Word    // Value, Values, Choice, Actions: what it can be; any text of the type, or Open, where there are none
	Open    bool      // Words are only some of the possible ones
	Names   Names     // what a Value or one of Values can name; of the sections of a Named: what can be there without being named
	Example string    // Value, Values: what it looks like, as <prefix>
	Alone   string    // Values: a word that stands instead of a list
	Single  bool      // Values, Entries: one of them may stand without a list
	Not     bool      // Values: may be turned round, as {not: …}
	Ordered bool      // Entries: their order means something
	Flow    bool      // new ones are written in brackets or braces, whatever is around them
	Stays   bool      // it is there to say something though nothing is in it
	Final   bool      // a key of Actions: nothing follows it
}

// Names are the names of what a document has.
type Names func(*Document) []string

// Word is one that a value can be.
type Word struct {
	Word, Help string
	Final      bool // of Actions: nothing follows it
	Hidden     bool // allowed, but not what anybody should be told
}

// child is what the section knows by that key.
func (s *Schema) child(key string) *Schema {
	for _, k := range s.Keys {
		if k.Key == key {
			return k
		}
	}
	return nil
}

func (s *Schema) word(text string) (Word, bool) {
	i := slices.IndexFunc(s.Words, func(w Word) bool { return w.Word == text })
	if i < 0 {
		return Word{}, false
	}
	return s.Words[i], true
}

func (s *Schema) words() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, w := range s.Words {
			if !yield(w.Word) {
				return
			}
		}
	}
}

func (s *Schema) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, k := range s.Keys {
			if !yield(k.Key) {
				return
			}
		}
	}
}

// expected says what a value of s is.
func (s *Schema) expected() string {
	switch {
	case len(s.Words) > 0 && !s.Open:
		var words []string
		for _, w := range s.Words {
			if !w.Hidden {
				words = append(words, w.Word)
			}
		}
		words = append(words, slices.Collect(s.keys())...)
		return orList(words)
	case s.Type == Boolean:
		return "true or false"
	case s.Type == Number:
		return "a number"
	case s.Example != "":
		return s.Example
	}
	return "a value"
}

// check says why text cannot be a value of s, as far as its form tells.
func (s *Schema) check(text string) string {
	wrong := func() string {
		return "expected " + s.expected() + ", found " + quoteFound(text) + Suggest(text, s.words())
	}
	switch _, known := s.word(text); {
	case known:
	case text == "":
		return wrong()
	case s.Type == Boolean:
		if _, ok := boolean(text); !ok {
			return wrong()
		}
	case len(s.Words) > 0 && !s.Open:
		return wrong()
	case s.Type == Number:
		if !isNumber(text) {
			return wrong()
		}
	}
	return ""
}

// isNumber reports whether text is a decimal or hexadecimal number.
func isNumber(text string) bool {
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		_, err := strconv.ParseUint(hex, 16, 64)
		return err == nil && !strings.Contains(hex, "_")
	}
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil && (text == "0" || text[0] != '0')
}

func quoteFound(text string) string {
	if text == "" {
		return "empty text"
	}
	return Clip(text)
}

// boolean reads true and false in the spellings of every YAML version.
func boolean(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// orList is `a, b or c`.
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
