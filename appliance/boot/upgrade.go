package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"weir/appliance/image/layout"
)

// Outcomes of an upgrade.
const (
	Tried   = "tried" // or about to be
	Blessed = "blessed"
	Failed  = "failed"
)

// Upgrade is what became of the last upgrade. It is kept on the configuration partition, for the image that comes back.
type Upgrade struct {
	Slot       layout.Slot `json:"slot"`
	Generation int         `json:"generation"`
	Time       time.Time   `json:"time"`
	Ports      []string    `json:"ports,omitempty"` // that were up before
	Outcome    string      `json:"outcome"`
	Reason     string      `json:"reason,omitempty"` // that it failed for
}

// upgradeFile is where it is kept, on the configuration partition.
const upgradeFile = "boot/upgrade.json"

// readUpgrade returns the last upgrade, if there was one.
func readUpgrade(dir string) (u Upgrade, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, upgradeFile))
	if err != nil || json.Unmarshal(text, &u) != nil {
		return Upgrade{}, false
	}
	return u, true
}

func writeUpgrade(dir string, u Upgrade) error {
	text, err := json.MarshalIndent(u, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, upgradeFile)
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = writeDurably(path, text)
	}
	if err != nil {
		return fmt.Errorf("note the upgrade: %w", err)
	}
	return nil
}

// settleUpgrade says of an upgrade that was to be tried, and does not run, that it failed. It returns what is known of the last one.
func settleUpgrade(dir string, running layout.Slot, images []Image) (u Upgrade, ok bool, err error) {
	u, ok = readUpgrade(dir)
	if !ok || u.Outcome != Tried || u.Slot == running || running == "" {
		return u, ok, nil
	}
	u.Outcome, u.Reason = Failed, "it is not there any more"
	for _, i := range images {
		if i.Slot == u.Slot {
			u.Reason = fmt.Sprintf("it never came as far as to show that it works; tries: %d", i.Done)
		}
	}
	return u, true, writeUpgrade(dir, u)
}

// openUpgrade reads an upgrade, and returns the image in it if its signature is good.
func openUpgrade(in io.Reader, key []byte) ([]byte, error) {
	file, err := io.ReadAll(io.LimitReader(in, layout.UpgradeSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read upgrade: %w", err)
	}
	return layout.OpenUpgrade(file, key)
}

// upgrade installs an upgrade in the slot that does not run.
func (m *machine) upgrade(ctx context.Context, in io.Reader) (text string, err error) {
	if !m.changing.TryLock() {
		return "", errors.New("another upgrade is under way")
	}
	defer m.changing.Unlock()
	defer debug.FreeOSMemory() // an image is large, and PID 1 small
	uki, err := openUpgrade(in, m.info.UpgradeKey)
	if err != nil {
		return "", err
	}
	health, err := m.hooks.Health(ctx)
	if err != nil {
		return "", fmt.Errorf("ask for the ports: %w", err)
	}
	var image Image
	err = m.onESP(ctx, false, func(s slots) error {
		image, err = s.install(uki)
		return err
	})
	if err != nil {
		return "", err
	}
	u := Upgrade{Slot: image.Slot, Generation: image.Generation, Time: time.Now().UTC(), Ports: health.Ports, Outcome: Tried}
	if err := writeUpgrade(m.config(), u); err != nil {
		m.log("%v", err) // it is tried all the same
	}
	return fmt.Sprintf("generation %d is in slot %s; rebooting into it, and back to slot %s unless it shows within %v of its start that it works\n",
		image.Generation, image.Slot, m.options.Slot, m.options.Trial), nil
}

// rollback has the other image boot next.
func (m *machine) rollback(ctx context.Context) (text string, err error) {
	if !m.changing.TryLock() {
		return "", errors.New("an upgrade is under way")
	}
	defer m.changing.Unlock()
	var image Image
	err = m.onESP(ctx, false, func(s slots) error {
		image, err = s.rollback()
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("rebooting into slot %s, generation %d\n", image.Slot, image.Generation), nil
}
