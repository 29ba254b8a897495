package rings

import "testing"

// TestDetached wants memory to work with, and all of it back.
func TestDetached(t *testing.T) {
	u, q, err := Detached(UMEMOptions{Frames: 128, FrameSize: 2048, RingSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	if q.UMEM() != u || u.Available() != 128 {
		t.Errorf("%d chunks", u.Available())
	}
	addr, _ := u.Alloc()
	u.Bytes(Frame{Addr: addr, Len: 2048})[2047] = 1
	u.Free(addr)
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := Detached(UMEMOptions{Frames: 1, FrameSize: 2048, RingSize: 64}); err == nil {
		t.Error("one chunk for rings of 64")
	}
}
