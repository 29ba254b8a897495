package mgmt

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünïcödé 日本\tand\n": "plain, ünïcödé 日本\tand\n",
		"\x1b[2J":                  "\\x1b[2J",
		"a\rb\bc\x00":              "a\\x0db\\x08c\\x00",
		"\u009b31m":                "\\x9b31m",
		"\x9b31m":                  "\\x9b31m",
		"a\u202eb\u2066":           "a\\u202eb\\u2066",
		"\xff\xe6\x97":             "\\xff\\xe6\\x97",
	} {
		if got := Escape(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// FuzzEscape: whatever it is, and however it is cut, a terminal gets printable text.
func FuzzEscape(f *testing.F) {
	for _, text := range []string{"a\x1b[2Jb", "日本\x9b", "\xe6\x97\xa5\xe6", "\u202e\u009b"} {
		f.Add([]byte(text), 2)
	}
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var b bytes.Buffer
		e := NewEscaper(&b)
		cut = min(max(cut, 0), len(text))
		e.Write(text[:cut])
		e.Write(text[cut:])
		shown := b.String()
		if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is shown as %q", text, shown)
		}
		if whole := Escape(string(text)); !strings.HasPrefix(whole, shown) {
			t.Errorf("%q in two pieces is shown as %q, in one as %q", text, shown, whole)
		}
	})
}

// FuzzWords: what Quote has made one word is one.
func FuzzWords(f *testing.F) {
	for _, word := range []string{"", "a", "a b", `a"b`, `a\`, "a|b", "'"} {
		f.Add(word, "x | y")
	}
	f.Fuzz(func(t *testing.T, word, line string) {
		if !utf8.ValidString(word) || !utf8.ValidString(line) {
			return
		}
		parts, err := splitLine("do " + Quote(word) + " it")
		if err != nil || len(parts) != 1 || len(parts[0]) != 3 || parts[0][1] != word {
			t.Errorf("%q is taken for %q, %v", word, parts, err)
		}
		parts, err = splitLine(line)
		if err == nil && len(parts) > strings.Count(line, "|")+1 {
			t.Errorf("%q has %d parts", line, len(parts))
		}
	})
}

// FuzzSSHKey: what is taken for a key is written the same.
func FuzzSSHKey(f *testing.F) {
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPSiioRlbBAvRijc8fN8tx1CB3PelibVxNXUfwGe/UAa me")
	f.Add("ssh-rsa AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		key, wrong := parseSSHKey(text)
		if wrong == "" && (key.Type == "" || len(key.Blob) == 0) || wrong != "" && len(key.Blob) > 0 {
			t.Errorf("%q: %v, %q", text, key, wrong)
		}
	})
}
