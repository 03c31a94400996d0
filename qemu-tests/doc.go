// Package qemutests tests the built images as black boxes. It holds nothing but
// tests, in tiers that are asked for by flags; without them a test skips and
// says what to give:
//
//	go test ./qemu-tests -images OUT         the artifacts in OUT as files
//	go test ./qemu-tests -images OUT -qemu   each image in QEMU, from its firmware to ready
//
// The first needs the Debian packages of `.ci/install test`, the second those
// of `.ci/install qemu`; a tool that is missing skips the test that asks it,
// with the tool's name. Package cluster makes the machines.
//
// The environment variables TRIVET_ACCEL (kvm or tcg) and TRIVET_TIME_SCALE (a
// factor on all time bounds) help on unusual machines.
package qemutests
