package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// hostKey reads the router's key, or makes it, in a directory that it makes too. made says that it is new. Where it cannot be
// written, it is one for as long as the process lives: better a router that one can log in to than none.
func hostKey(path string, log *zap.Logger) (key ssh.Signer, made bool, err error) {
	key, err = readHostKey(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, false, fmt.Errorf("make host key: %w", err)
	}
	switch err := writeHostKey(path, private); {
	case err == nil || errors.Is(err, fs.ErrExist):
		key, err = readHostKey(path)
		return key, true, err
	default:
		log.Warn("SSH host key is not kept: the next start has another one", zap.Error(err))
	}
	key, err = ssh.NewSignerFromSigner(private)
	return key, true, err
}

// HostKeyFile is where the host key of a router with that configuration file is.
func HostKeyFile(config string) string { return config + ".commits/ssh_host_ed25519_key" }

// Fingerprint is that of a host key, as clients show it.
func Fingerprint(path string) (string, error) {
	key, err := readHostKey(path)
	if err != nil {
		return "", err
	}
	return ssh.FingerprintSHA256(key.PublicKey()), nil
}

func readHostKey(path string) (ssh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("read host key: %s has mode %04o, and others may read it: chmod 600", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("read host key: %s: %w", path, err)
	}
	return key, nil
}

// writeHostKey keeps a key. It is at its path whole or not at all, and never in the place of another.
func writeHostKey(path string, private ed25519.PrivateKey) (err error) {
	block, err := ssh.MarshalPrivateKey(private, "weir host key")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".host-key-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(pem.EncodeToMemory(block))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename, it replaces nothing
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
