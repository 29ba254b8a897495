package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// ConfigDir is where the configuration partition is mounted. It survives upgrades.
const ConfigDir = "/config"

// ConfigFile is the configuration that the data plane is started with.
const ConfigFile = ConfigDir + "/" + layout.ConfigFile

// mountConfig mounts the configuration partition. Ext4 replays its journal, which is the check that a power cut calls for; what it
// finds damaged beyond that is mounted so that it can only be read, and trouble says so.
func mountConfig(device, at string) (trouble string, err error) {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", fmt.Errorf("mount configuration: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	wrong := unix.Mount(device, at, "ext4", flags, "errors=remount-ro")
	if wrong == nil {
		if wrong = tryWrite(at); wrong == nil {
			return "", nil
		}
		return fmt.Sprintf("%s cannot be written: %v; commits are not kept", at, wrong), nil
	}
	// Without its journal, what lies in there since the last replay is not seen; it is better than nothing.
	for _, options := range []string{"errors=remount-ro", "errors=remount-ro,noload"} {
		if err = unix.Mount(device, at, "ext4", flags|unix.MS_RDONLY, options); err == nil {
			return fmt.Sprintf("%s is read-only, since it cannot be mounted otherwise: %v; commits are not kept", at, wrong), nil
		}
	}
	return "", fmt.Errorf("mount %s: %w", device, errors.Join(wrong, err))
}

func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// firstConfig is the configuration of a machine that was given none: it asks for an address by DHCP, and forwards nothing. Who has one
// of the keys may log in.
func firstConfig(keys []string) []byte {
	var b strings.Builder
	b.WriteString("# The configuration of a router that was given none.\nversion: 1\nsystem:\n  management: {port: eth0, dhcp: true}\n")
	if len(keys) > 0 {
		b.WriteString("  ssh:\n    listen: [\"0.0.0.0:22\", \"[::]:22\"]\n    users:\n      admin:\n        role: admin\n        keys:\n")
	}
	for _, key := range keys {
		fmt.Fprintf(&b, "          - %q\n", key)
	}
	return []byte(b.String())
}

// authorizedKeys are the keys in a file of authorized_keys(5). Options, which weir has none of, are an error, rather than keys without
// what limits them.
func authorizedKeys(text string) (keys []string, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "AAAA") {
			return nil, fmt.Errorf("%s: expected a key such as ssh-ed25519 AAAA…, found %q", layout.KeysFile, line)
		}
		keys = append(keys, line)
	}
	return keys, nil
}

// ensureConfig writes the configuration of a first start where dir has none.
func ensureConfig(dir string) (made bool, err error) {
	path := filepath.Join(dir, layout.ConfigFile)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	text, err := os.ReadFile(filepath.Join(dir, layout.KeysFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("write first configuration: %w", err)
	}
	keys, wrong := authorizedKeys(string(text))
	if err := writeDurably(path, firstConfig(keys)); err != nil {
		return false, fmt.Errorf("write first configuration: %w", err)
	}
	return true, wrong
}
