package mgmt

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"
)

// sshKeyTypes are the public keys that can log in, each with what its wire form has behind the type, in order.
var sshKeyTypes = map[string][]sshField{
	"ssh-ed25519":                        {ed25519Field},
	"sk-ssh-ed25519@openssh.com":         {ed25519Field, applicationField},
	"ecdsa-sha2-nistp256":                {nameField("nistp256"), pointField(ecdh.P256())},
	"sk-ecdsa-sha2-nistp256@openssh.com": {nameField("nistp256"), pointField(ecdh.P256()), applicationField},
	"ecdsa-sha2-nistp384":                {nameField("nistp384"), pointField(ecdh.P384())},
	"ecdsa-sha2-nistp521":                {nameField("nistp521"), pointField(ecdh.P521())},
	"ssh-rsa":                            {exponentField, modulusField},
}

// sshField checks a field of a key and says what is wrong with it.
type sshField func(content []byte) (wrong string)

func ed25519Field(content []byte) string {
	if len(content) != 32 {
		return fmt.Sprintf("an Ed25519 key has 32 bytes, not %d", len(content))
	}
	return ""
}

func applicationField(content []byte) string {
	if len(content) == 0 {
		return "a security key without an application"
	}
	return ""
}

func nameField(name string) sshField {
	return func(content []byte) string {
		if string(content) != name {
			return "its curve is not the one of its type"
		}
		return ""
	}
}

func pointField(curve ecdh.Curve) sshField {
	return func(content []byte) string {
		if _, err := curve.NewPublicKey(content); err != nil {
			return "its point is not on the curve"
		}
		return ""
	}
}

func exponentField(content []byte) string {
	e := new(big.Int).SetBytes(content)
	if len(content) > 8 || e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 || e.Cmp(big.NewInt(1<<31-1)) > 0 {
		return "its exponent is not one of RSA"
	}
	return ""
}

// RSA keys shorter than 2048 bits can be broken; longer ones than 16384 take long to verify.
const (
	rsaBitsMin = 2048
	rsaBitsMax = 16384
)

func modulusField(content []byte) string {
	if len(content) > 0 && content[0]&0x80 != 0 {
		return "its modulus is negative"
	}
	if bits := new(big.Int).SetBytes(content).BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
		return fmt.Sprintf("an RSA key of %d bits; expected %d to %d", bits, rsaBitsMin, rsaBitsMax)
	}
	return ""
}

// parseSSHKey reads a line of a .pub file: type, base64, comment.
func parseSSHKey(text string) (key SSHKey, wrong string) {
	const expected = "expected a public key as in a .pub file, such as \"ssh-ed25519 AAAA… alice\""
	if strings.Contains(text, "PRIVATE KEY") {
		return key, "this is a private key; " + expected
	}
	words := strings.Fields(text)
	if len(words) < 2 {
		return key, expected + "; found " + clip(text)
	}
	fields, ok := sshKeyTypes[words[0]]
	switch {
	case words[0] == "ssh-dss":
		return key, "DSA keys are broken; make another: ssh-keygen -t ed25519"
	case strings.Contains(words[0], "-cert-v"):
		return key, "certificates are not supported; " + expected
	case !ok && (strings.ContainsAny(words[0], "=,") || sshKeyTypes[words[1]] != nil):
		return key, "options before a key are not supported; the role says what the user may do"
	case !ok:
		return key, fmt.Sprintf("%s is no type of key%s", clip(words[0]), suggest(words[0], func(yield func(string) bool) {
			for name := range sshKeyTypes {
				if !yield(name) {
					return
				}
			}
		}))
	}
	blob, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return key, "the key is cut off or changed: it is no base64"
	}
	name, rest, ok := sshString(blob)
	if !ok || string(name) != words[0] {
		return key, "the key is of another type than the word before it says"
	}
	for _, check := range fields {
		var content []byte
		if content, rest, ok = sshString(rest); !ok {
			return key, "the key is cut off"
		}
		if wrong := check(content); wrong != "" {
			return key, "bad key: " + wrong
		}
	}
	if len(rest) > 0 {
		return key, "the key has bytes behind its end"
	}
	return SSHKey{Type: words[0], Blob: blob, Comment: strings.Join(words[2:], " ")}, ""
}

// Fingerprint is what ssh-keygen -l shows.
func (k SSHKey) Fingerprint() string {
	sum := sha256.Sum256(k.Blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func (k SSHKey) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", k.Type, k.Fingerprint(), k.Comment))
}

// sshString takes a string off the front of a wire form (RFC 4251 section 5).
func sshString(blob []byte) (content, rest []byte, ok bool) {
	if len(blob) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(blob)
	if uint64(n) > uint64(len(blob)-4) {
		return nil, nil, false
	}
	return blob[4 : 4+n], blob[4+n:], true
}
