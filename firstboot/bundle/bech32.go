package bundle

import "strings"

// bech32Letters stand for five bits each (BIP 173, "Bech32").
const bech32Letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32 writes data in small letters after a prefix and a 1, with the checksum
// of BIP 173, as age writes its keys (age-encryption.org/v1, "The X25519
// recipient type"). age itself only makes random keys.
func bech32(prefix string, data []byte) string {
	var values []byte
	bits, have := uint(0), uint(0)
	for _, b := range data {
		bits, have = bits<<8|uint(b), have+8
		for have >= 5 {
			have -= 5
			values = append(values, byte(bits>>have&31))
		}
	}
	if have > 0 {
		values = append(values, byte(bits<<(5-have)&31))
	}
	var b strings.Builder
	b.WriteString(prefix + "1")
	for _, v := range append(values, bech32Checksum(prefix, values)...) {
		b.WriteByte(bech32Letters[v])
	}
	return b.String()
}

func bech32Checksum(prefix string, values []byte) []byte {
	var all []byte
	for _, c := range []byte(prefix) {
		all = append(all, c>>5)
	}
	all = append(all, 0)
	for _, c := range []byte(prefix) {
		all = append(all, c&31)
	}
	all = append(all, values...)
	sum := bech32Polymod(append(all, 0, 0, 0, 0, 0, 0)) ^ 1
	out := make([]byte, 6)
	for i := range out {
		out[i] = byte(sum >> (5 * (5 - i)) & 31)
	}
	return out
}

func bech32Polymod(values []byte) uint32 {
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}
