package image

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/appliance/image/layout"
)

// Manifest lists what was built, and of what.
type Manifest struct {
	layout.Info
	CommandLine string     `json:"command_line"`
	Without     []string   `json:"without,omitempty"` // modules that the flavour names and the kernel does not have
	Files       []Artifact `json:"files"`
}

// Artifact is a file that was built.
type Artifact struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ManifestSuffix and SignatureSuffix make the names of a manifest, and of the 64 bytes of its Ed25519 signature.
const (
	ManifestSuffix  = ".manifest.json"
	SignatureSuffix = ".sig"
)

// artifact measures a file.
func artifact(name string) (Artifact, error) {
	stat, err := os.Stat(name)
	if err != nil {
		return Artifact{}, err
	}
	sum, err := fileSHA256(name)
	return Artifact{filepath.Base(name), stat.Size(), sum}, err
}

// write puts the manifest into a file, and its signature beside it. A signature of an earlier manifest does not stay.
func (m *Manifest) write(file string, key ed25519.PrivateKey) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	text = append(text, '\n')
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if key == nil {
		if err := os.Remove(file + SignatureSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old signature: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(file+SignatureSuffix, ed25519.Sign(key, text), 0o644); err != nil {
		return fmt.Errorf("write signature: %w", err)
	}
	return nil
}

// Verify checks the signature of a manifest, and that the files beside it are those that it lists.
func Verify(file string, key ed25519.PublicKey) (*Manifest, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	signature, err := os.ReadFile(file + SignatureSuffix)
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, text, signature) {
		return nil, fmt.Errorf("%s is not signed with this key", file)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	for _, want := range m.Files {
		if filepath.Base(want.Name) != want.Name {
			return nil, fmt.Errorf("%s lists %q, which is not a name of a file beside it", file, want.Name)
		}
		got, err := artifact(filepath.Join(filepath.Dir(file), want.Name))
		if err != nil {
			return nil, fmt.Errorf("check what the manifest lists: %w", err)
		}
		if got != want {
			return nil, fmt.Errorf("%s is not what %s lists: its SHA-256 is %s, not %s", want.Name, file, got.SHA256, want.SHA256)
		}
	}
	return &m, nil
}
