package appliance

import (
	"slices"
	"testing"
)

func TestCPUs(t *testing.T) {
	usable, err := usableCPUs()
	if err != nil || len(usable) == 0 {
		t.Fatalf("%v, %v", usable, err)
	}
	if !canRunOn(usable[0]) || canRunOn(1023) {
		t.Errorf("on CPU %d: %v; on one that is not there: %v", usable[0], canRunOn(usable[0]), canRunOn(1023))
	}
	after, err := usableCPUs()
	if err != nil || !slices.Equal(after, usable) {
		t.Errorf("trying has changed what is usable: %v, %v", after, err)
	}
}
