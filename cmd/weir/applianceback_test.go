package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/appliance/boot"
	"weir/appliance/image/layout"
	"weir/appliance/image/vm"
)

// TestApplianceComesBack: after an upgrade that does not work, for whatever reason, the image before it boots by itself.
func TestApplianceComesBack(t *testing.T) {
	if !*allImages {
		t.Skip("this takes long: -image.all asks for it")
	}
	b := newBed(t)
	hang := filepath.Join(b.dir, "hang")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", hang, "../../appliance/boot/testdata/hang")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	r := b.start(t, vm.Copy(t, b.disk))
	r.blessed(layout.SlotA)
	generation := 1
	for _, c := range []struct{ name, binary, options, reason string }{
		{"it panics", b.binary, "rdinit=/nowhere", "never came as far"},
		{"it hangs", hang, "", "never came as far"},
		{"it cannot apply the configuration", b.binary, "module_blacklist=virtio_net weir.trial=30", "the data plane does not run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			begun := time.Now()
			r.ok("request upgrade", b.upgrade(c.binary, c.options))
			generation++
			p := r.await("it does not come back", func(p *boot.Platform) bool {
				return p.Slot == layout.SlotA && p.Upgrade != nil && p.Upgrade.Generation == generation && p.Upgrade.Outcome == boot.Failed
			})
			t.Logf("back after %v: %s", time.Since(begun).Round(time.Second), p.Upgrade.Reason)
			if !strings.Contains(p.Upgrade.Reason, c.reason) || !p.Images[0].Running || !p.Images[0].Blessed || len(p.Images) != 2 || !p.Images[1].GivenUp {
				t.Errorf("%+v, %+v", p.Upgrade, p.Images)
			}
			if out := r.ok("show platform", nil); !strings.Contains(out, "failed: ") {
				t.Errorf("nobody is told: %s", out)
			}
			r.passes(voiceAddress)
		})
	}
	t.Run("crash loop", func(t *testing.T) {
		r.t = t
		r.ok("reload", []byte(b.configOf("second")))
		starts := askMachine[boot.Platform](r, "show platform").DataPlane.Starts
		for range 3 {
			need(t, r.sysrq('f'))
			starts++
			r.await("the data plane was not started again", func(p *boot.Platform) bool {
				return p.DataPlane.Starts >= starts && p.DataPlane.Phase == boot.Ready
			})
		}
		p := askMachine[boot.Platform](r, "show platform")
		if got := r.hostname(); !p.DataPlane.LastGood || got != "first" {
			t.Logf("%s runs after three crashes, %+v", got, p.DataPlane)
			t.Error("not the last good configuration: were the crashes more than a minute apart?")
		}
		r.passes(voiceAddress)
	})
	r.Cut()
}

// TestAppliancePowerCuts is what TestAppliance does too, more often.
func TestAppliancePowerCuts(t *testing.T) {
	if !*allImages {
		t.Skip("this takes long: -image.all asks for it")
	}
	b := newBed(t)
	b.powerCuts(t, vm.Copy(t, b.disk), 20)
}
