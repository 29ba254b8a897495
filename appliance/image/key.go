package image

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// Types of PEM blocks. OpenSSL reads and writes the same.
const (
	pemPrivate = "PRIVATE KEY"
	pemPublic  = "PUBLIC KEY"
)

// NewKey makes a key to sign images with, in a new file that only its owner reads, and its public half in FILE.pub.
func NewKey(file string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return fmt.Errorf("write the public key: %w", err)
	}
	if err := writeNew(file, pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: secret}), 0o600); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	if err := writeNew(file+".pub", pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: open}), 0o644); err != nil {
		return fmt.Errorf("write the public key: %w", errors.Join(err, os.Remove(file)))
	}
	return nil
}

// writeNew never overwrites: it may be the key that routers trust.
func writeNew(name string, data []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(data)
	return err
}

// ReadKey reads what NewKey wrote.
func ReadKey(file string) (ed25519.PrivateKey, error) {
	der, err := readPEM(file, pemPrivate)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", file, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %s: it is not of Ed25519", file)
	}
	return private, nil
}

// ReadPublicKey reads the public half.
func ReadPublicKey(file string) (ed25519.PublicKey, error) {
	der, err := readPEM(file, pemPublic)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("read public key %s: %w", file, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("read public key %s: it is not of Ed25519", file)
	}
	return public, nil
}

func readPEM(file, kind string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read key %s: it has no %s as the first block of PEM", file, kind)
	}
	return block.Bytes, nil
}
