package layout

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names of partitions in the partition table, and labels of their file systems.
const (
	ESP    = "WEIR-ESP"
	Config = "WEIR-CONFIG"
)

// Tokens of the kernel command line.
const (
	TokenBoot = "weir.boot=1" // without it, the binary does nothing of what PID 1 does
	TokenSlot = "weir.slot="  // A or B follows
)

// Files in the initramfs.
const (
	Init        = "/init"
	ModulesFile = "/etc/weir/modules"    // a module's path a line, in the order to load them
	InfoFile    = "/etc/weir/image.json" // an Info
)

// Files in the root of the config partition.
const (
	ConfigFile = "weir.yaml"
	KeysFile   = "authorized_keys" // who may log in at the first start
)

// Info is what an image says of itself.
type Info struct {
	Version    string    `json:"version"`
	Flavour    string    `json:"flavour"`
	Kernel     string    `json:"kernel"` // release, as in uname -r
	Built      time.Time `json:"built"`  // from the inputs, not the clock: no time before it can be now
	Parts      []Part    `json:"parts"`
	UpgradeKey []byte    `json:"upgrade_key,omitempty"` // ed25519; without one no upgrade is taken
}

// Part is something that an image was made of.
type Part struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256"`
}

// ParseInfo reads what InfoFile has.
func ParseInfo(text []byte) (*Info, error) {
	var i Info
	if err := json.Unmarshal(text, &i); err != nil {
		return nil, fmt.Errorf("read what the image says of itself: %w", err)
	}
	return &i, nil
}
