package layout

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
)

// An upgrade is a file of a unified kernel image, as for slot A and generation 1, then 64 bytes of signature, then 16 bytes
// that say what it is. The signature is Ed25519ph (RFC 8032) with the context below over the image, so that the one of a
// manifest never serves for an upgrade.
const (
	UpgradeMagic   = "weir upgrade v1\n"
	upgradeContext = "weir upgrade"

	// UpgradeSizeMax bounds an upgrade; three of them fit on the ESP.
	UpgradeSizeMax = 80 << 20
)

// What is wrong with an upgrade.
var (
	ErrNotUpgrade       = errors.New("not an upgrade of weir, or not all of it")
	ErrUpgradeSignature = errors.New("the upgrade is not signed with the key that this image trusts")
	ErrNoUpgradeKey     = errors.New("this image was built without a key, and takes no upgrades")
)

const upgradeTrailer = ed25519.SignatureSize + len(UpgradeMagic)

// SealUpgrade makes an upgrade of a unified kernel image.
func SealUpgrade(uki []byte, key ed25519.PrivateKey) ([]byte, error) {
	if len(uki)+upgradeTrailer > UpgradeSizeMax {
		return nil, fmt.Errorf("make an upgrade: %d bytes are too many, %d are the most", len(uki)+upgradeTrailer, UpgradeSizeMax)
	}
	digest := sha512.Sum512(uki)
	signature, err := key.Sign(nil, digest[:], upgradeOptions)
	if err != nil {
		return nil, fmt.Errorf("sign the upgrade: %w", err)
	}
	out := append(make([]byte, 0, len(uki)+upgradeTrailer), uki...)
	return append(append(out, signature...), UpgradeMagic...), nil
}

// OpenUpgrade returns the unified kernel image in an upgrade whose signature is good. It shares the file's memory.
func OpenUpgrade(file []byte, key ed25519.PublicKey) ([]byte, error) {
	if len(key) == 0 {
		return nil, ErrNoUpgradeKey
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("check the upgrade: a key of %d bytes is none of Ed25519", len(key))
	}
	n := len(file) - upgradeTrailer
	if n <= 0 || len(file) > UpgradeSizeMax || string(file[n+ed25519.SignatureSize:]) != UpgradeMagic {
		return nil, ErrNotUpgrade
	}
	digest := sha512.Sum512(file[:n])
	if ed25519.VerifyWithOptions(key, digest[:], file[n:n+ed25519.SignatureSize], upgradeOptions) != nil {
		return nil, ErrUpgradeSignature
	}
	return file[:n], nil
}

var upgradeOptions = &ed25519.Options{Hash: crypto.SHA512, Context: upgradeContext}
