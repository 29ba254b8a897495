package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"weir/appliance/boot"
	"weir/appliance/image/layout"
	"weir/appliance/image/vm"
)

// sysrq has the machine's kernel do what a key of its emergency commands stands for: the monitor sends a break on the serial line, which
// makes the next character one.
func (r *running) sysrq(key byte) error {
	c, err := net.Dial("unix", r.monitor)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewScanner(c)
	for _, command := range []string{"", `{"execute":"qmp_capabilities"}`, `{"execute":"chardev-send-break","arguments":{"id":"console"}}`} {
		if _, err := fmt.Fprintln(c, command); err != nil {
			return err
		}
		if !in.Scan() {
			return fmt.Errorf("the monitor says nothing: %w", in.Err())
		}
		var answer struct{ Error json.RawMessage }
		if err := json.Unmarshal(in.Bytes(), &answer); err != nil || answer.Error != nil {
			return fmt.Errorf("the monitor says %s", in.Text())
		}
	}
	r.Type(string(key))
	return nil
}

// powerCuts has commits made over and over, and the power cut at random moments: each time a whole configuration boots, the last one
// that was told to be committed or the one that was on its way.
func (b *bed) powerCuts(t *testing.T, disk string, times int) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for i := range times {
		r := b.start(t, disk)
		at := time.Duration(random.Int64N(int64(4 * time.Second)))
		ctx, cancel := context.WithTimeout(context.Background(), at)
		done, next := r.hostname(), ""
		for n := 0; ctx.Err() == nil; n++ {
			next = fmt.Sprintf("cut-%d-%d", i, n)
			text := b.configOf(next) + strings.Repeat("# padding, so that a commit is more than a block\n", 500)
			if a, err := b.login.Run(ctx, "commit", bytes.NewReader([]byte(text))); err == nil && a.Status == 0 {
				done = next
			}
		}
		cancel()
		r.Cut()
		fs := vm.Config(t, disk)
		onDisk := vm.ReadConfig(t, fs, layout.ConfigFile)
		if onDisk != "" && !strings.HasPrefix(onDisk, "version: 1\n") {
			t.Errorf("cut after %v: the file on the disk begins with %.40q", at, onDisk)
		}
		r = b.start(t, disk)
		if got := r.hostname(); got != done && got != next {
			t.Errorf("cut after %v: %s boots; %s was committed, and %s on its way", at, got, done, next)
		}
		if trouble := askMachine[systemState](r, "show system").Trouble; len(trouble) > 0 {
			t.Errorf("cut after %v: %v", at, trouble)
		}
		t.Logf("cut after %v, with %s committed and %s on its way: %s boots", at, done, next, r.hostname())
		r.Cut()
		vm.Config(t, disk) // whole again
	}
}

// upgrades installs an image that works. One that was tampered with is refused before.
func (b *bed) upgrades(t *testing.T, disk string) {
	r := b.start(t, disk)
	r.blessed(layout.SlotA)
	good := b.upgrade(b.binary, "")
	for what, file := range map[string][]byte{
		"one bit":   tampered(good),
		"the end":   good[:len(good)-1],
		"half":      good[:len(good)/2],
		"all of it": {},
	} {
		if a := r.run("request upgrade", file); a.Status != 1 || !strings.Contains(a.Err, "upgrade") {
			t.Errorf("an upgrade that lacks %s: status %d, %s%s", what, a.Status, a.Out, a.Err)
		}
	}
	if p := askMachine[boot.Platform](r, "show platform"); len(p.Images) != 1 || p.Upgrade != nil {
		t.Errorf("after upgrades that were refused: images %v, upgrade %v", p.Images, p.Upgrade)
	}
	begun := time.Now()
	t.Log(strings.TrimSpace(r.ok("request upgrade", good)))
	p := r.blessed(layout.SlotB)
	t.Logf("upgraded, and blessed after %v", time.Since(begun).Round(time.Second))
	if p.Upgrade == nil || p.Upgrade.Outcome != boot.Blessed || len(p.Images) != 2 || !p.Images[0].Running || p.Images[0].Generation != 2 {
		t.Errorf("after the upgrade: %+v, %+v", p.Upgrade, p.Images)
	}
	r.passes(voiceAddress)
	r.ok("request rollback image", nil)
	p = r.blessed(layout.SlotA)
	if len(p.Images) != 2 || !p.Images[0].Running || !p.Images[1].GivenUp {
		t.Errorf("after the rollback: %+v", p.Images)
	}
	r.passes(voiceAddress)
}

func tampered(file []byte) []byte {
	file = bytes.Clone(file)
	file[len(file)/2] ^= 1
	return file
}
