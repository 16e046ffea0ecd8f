package twin

import "math/bits"

// stream is a source of chance that belongs to one component and one purpose of one replication. Its numbers have places: the n-th is
// always the same, whoever asked for what before. So an item meets the same luck in every variant, and a new component shifts nobody.
type stream struct{ key uint64 }

// newStream keys a stream by all that it is for.
func newStream(seed uint64, replication int, component, purpose string) stream {
	h := scramble(seed + 0x9e3779b97f4a7c15)
	h = scramble(h ^ uint64(replication))
	for _, text := range [2]string{component, purpose} {
		for i := range len(text) {
			h = (h ^ uint64(text[i])) * 0x100000001b3
		}
		h = scramble(h + 0x632be59bd9b4e019)
	}
	return stream{h}
}

// scramble is the finalizer of SplitMix64: every bit of the result depends on every bit of x.
func scramble(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// at is the n-th number of the stream.
func (s stream) at(n uint64) uint64 { return scramble(s.key + (n+1)*0x9e3779b97f4a7c15) }

// of is the n-th number for an item: as at, in two dimensions.
func (s stream) of(item int32, n uint32) uint64 { return s.at(uint64(uint32(item))<<32 | uint64(n)) }

// hits tells whether chance u is among the given parts of a million.
func hits(u uint64, ppm int64) bool { return ppm > 0 && int64((u>>44)*1_000_000>>20) < ppm }

// pick chooses by weight; weights are cumulative and end with the total.
func pick(u uint64, cumulative []uint64) int {
	at := below(u, cumulative[len(cumulative)-1])
	for i, c := range cumulative {
		if at < c {
			return i
		}
	}
	return len(cumulative) - 1
}

// below turns chance u into a number from 0 to n-1, each as likely as the others.
func below(u, n uint64) uint64 {
	high, _ := bits.Mul64(u, n)
	return high
}
