package rootfs

import (
	"os"
	"testing"

	"trivet/builder/host"
)

func TestMain(m *testing.M) {
	host.Main(nil)
	os.Exit(m.Run())
}
