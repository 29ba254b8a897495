package trial

// What Ethernet puts around every frame: preamble and start of frame delimiter, 8 bytes, and the gap, 12.
const wireOverhead = 20

// LineRate is the most frames per second that fit on links of so many bits per second (RFC 2544 section 20); 0 where that
// is not known.
func (s Sizes) LineRate(bitsPerSecond uint64) float64 {
	if bitsPerSecond == 0 {
		return 0
	}
	return float64(bitsPerSecond) / (8 * (s.Mean() + wireOverhead))
}

// Mean is the average size.
func (s Sizes) Mean() float64 {
	sum := 0
	for _, size := range s {
		sum += size
	}
	return float64(sum) / float64(len(s))
}
