package layout

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func newKey(t testing.TB, seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return key.Public().(ed25519.PublicKey), key
}

// TestUpgradeIsSigned changes one bit anywhere, or cuts the file anywhere, and nothing of it is taken.
func TestUpgradeIsSigned(t *testing.T) {
	public, private := newKey(t, 1)
	other, _ := newKey(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		uki := rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "uki")
		file, err := SealUpgrade(uki, private)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OpenUpgrade(file, public); err != nil || !bytes.Equal(got, uki) {
			t.Fatalf("%v, the same: %t", err, bytes.Equal(got, uki))
		}
		if _, err := OpenUpgrade(file, other); !errors.Is(err, ErrUpgradeSignature) {
			t.Fatalf("another key: %v", err)
		}
		if _, err := OpenUpgrade(file, nil); !errors.Is(err, ErrNoUpgradeKey) {
			t.Fatalf("no key: %v", err)
		}
		cut := rapid.IntRange(0, len(file)-1).Draw(t, "cut")
		if _, err := OpenUpgrade(file[:cut], public); err == nil {
			t.Fatalf("cut to %d of %d bytes, it is taken", cut, len(file))
		}
		changed := bytes.Clone(file)
		at, bit := rapid.IntRange(0, len(file)-1).Draw(t, "at"), rapid.IntRange(0, 7).Draw(t, "bit")
		changed[at] ^= 1 << bit
		if _, err := OpenUpgrade(changed, public); err == nil {
			t.Fatalf("bit %d of byte %d changed, it is taken", bit, at)
		}
	})
}

func TestUpgradeSize(t *testing.T) {
	_, private := newKey(t, 1)
	if _, err := SealUpgrade(make([]byte, UpgradeSizeMax), private); err == nil {
		t.Error("an upgrade that does not fit is made")
	}
	public, _ := newKey(t, 1)
	if _, err := OpenUpgrade(make([]byte, UpgradeSizeMax+1), public); !errors.Is(err, ErrNotUpgrade) {
		t.Errorf("an upgrade that does not fit: %v", err)
	}
}
