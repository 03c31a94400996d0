package source

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const canary = "canary-0123456789-of-the-seed"

// TestWipe: what is wiped is no longer on the medium, anywhere, and the medium is
// not a source any more; what cannot be wiped is said.
func TestWipe(t *testing.T) {
	secret := sample{user: goodUser + strings.Repeat("# "+canary+"\n", 300), network: true}
	nova := tree(t, "nova")
	for name := range nova {
		if strings.HasSuffix(name, "user_data") || strings.HasSuffix(name, "user-data") || strings.HasSuffix(name, "vendor_data2.json") {
			nova[name] = `{"x": "` + canary + `"}`
		}
	}
	for name, c := range map[string]struct {
		device, image string
		part, locked  bool
		words         string
		done          int
		attached      bool
	}{
		"cidata vfat":                   {"vdb", fatImage(t, "CIDATA", secret.nocloud()), false, false, "", 1, false},
		"cidata vfat, asked for":        {"vdb", fatImage(t, "CIDATA", secret.nocloud()), false, false, "ds=nocloud", 1, false},
		"cidata vfat, read-only":        {"vdb", fatImage(t, "CIDATA", secret.nocloud()), false, true, "", 0, true},
		"cidata iso":                    {"sr0", isoImage(t, "cidata", secret.nocloud()), false, false, "", 0, true},
		"config-2 iso":                  {"vdb", isoImage(t, "config-2", secret.openstack()), false, false, "", 0, true},
		"config-2 iso on our partition": {"vda4", isoImage(t, "config-2", secret.openstack()), true, false, "", 1, false},
		"the same, read-only":           {"vda4", isoImage(t, "config-2", secret.openstack()), true, true, "", 0, true},
		"config-2 4k":                   {"vda4", fat4kImage(t, "CONFIG-2", secret.openstack()), true, false, "ds=configdrive", 1, false},
		"Nova, every version, vfat":     {"vdb", fatImage(t, "config-2", nova), false, false, "", 15, false},
		"Nova, every version, iso":      {"vda4", isoImage(t, "config-2", nova), true, false, "", 15, false},
		"trivet.url=device":             {"vdb", fatImage(t, "SEED", secret.nocloud()), false, false, "trivet.url=device=SEED:/user-data", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			plug(t, env, c.device, c.image)
			if c.part {
				attribute(t, env, c.device, "partition", "4")
			}
			if c.locked {
				attribute(t, env, c.device, "ro", "1")
			}
			commandLine(t, env, c.words)
			candidate, _, err := Look(env, All())
			if err != nil {
				t.Fatal(err)
			}
			done, attached, err := Wipe(env, candidate)
			if err != nil || len(done) != c.done || attached != c.attached || !slices.IsSorted(done) {
				t.Errorf("done %v, attached %t, %v", done, attached, err)
			}
			data, err := os.ReadFile(c.image)
			if err != nil {
				t.Fatal(err)
			}
			if left := bytes.Contains(data, []byte(canary)); left != c.attached {
				t.Errorf("the secret is on the medium: %t", left)
			}
			again, tried, err := Look(env, All())
			if (again == nil) == c.attached || err != nil {
				t.Errorf("%+v, %v: %+v", again, err, tried)
			}
			if c.attached {
				return
			}
			said := slices.ContainsFunc(tried, func(a Attempt) bool { return strings.Contains(a.Why, "was used and wiped by this node") })
			if !said || c.words != "" && strings.HasPrefix(c.words, "ds=") && tried[2].State != "taken" {
				t.Errorf("%+v", tried)
			}
			if done, attached, err := Wipe(env, candidate); len(done) > 0 || attached || err != nil {
				t.Errorf("once more: %v %t %v", done, attached, err)
			}
			for _, part := range []string{"meta-data", "openstack/latest/meta_data.json"} {
				m := candidate.Media[0]
				files, err := readImage(m.Device, m.Type, []string{part}, 1<<20)
				if text, ok := files[part]; err != nil || ok && len(bytes.Trim(text, "\x00")) == 0 {
					t.Errorf("%s is gone too (%v)", part, err)
				}
			}
		})
	}
}

// TestWipeNew: a medium that was wiped does not stand in the way of a new one.
func TestWipeNew(t *testing.T) {
	for _, form := range []struct {
		label string
		files func(sample) map[string]string
	}{{"config-2", sample.openstack}, {"cidata", sample.nocloud}} {
		env := testEnv(t)
		plug(t, env, "vda4", fatImage(t, form.label, form.files(sample{user: string(wipedContent(200))})))
		other := form.files(whole())
		if form.label == "config-2" {
			other["openstack/latest/meta_data.json"] = `{"uuid": "another"}`
		}
		plug(t, env, "sr0", isoImage(t, form.label, other))
		p, _, err := read(t, env)
		if err != nil || !strings.HasPrefix(p.UserData.Name, "/dev/sr0:") {
			t.Errorf("%s: %s %v", form.label, p.UserData.Name, err)
		}
	}
}

// TestWipeFails: what is not sure to be gone is said to be there.
func TestWipeFails(t *testing.T) {
	for name, c := range map[string]struct {
		write func(string, string, map[string][]byte) error
		want  string
	}{
		"none":      {nil, "wipe /dev/vdb (vfat, label CIDATA): this agent has no way to write disks"},
		"an error":  {func(string, string, map[string][]byte) error { return errors.New("it is broken") }, "it is broken"},
		"a pretend": {func(string, string, map[string][]byte) error { return nil }, "user-data is still there after it was overwritten"},
	} {
		env := testEnv(t)
		env.WriteDisk = c.write
		plug(t, env, "vdb", fatImage(t, "CIDATA", seed()))
		candidate, _, err := Look(env, All())
		if err != nil {
			t.Fatal(err)
		}
		done, attached, err := Wipe(env, candidate)
		if len(done) > 0 || !attached {
			t.Errorf("%s: %v, attached %t", name, done, attached)
		}
		wantError(t, err, c.want)
	}
	if done, attached, err := Wipe(testEnv(t), nil); done != nil || attached || err != nil {
		t.Error("a node without a source has nothing to wipe")
	}
}

// TestOverwriteISO: bytes that are not the file's are never overwritten.
func TestOverwriteISO(t *testing.T) {
	files := map[string]string{"a/deep/folder/user_data": "secret", "user-data": "other"}
	image := isoImage(t, "cidata", files)
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	same := overwriteISO(image, map[string][]byte{"user-data": []byte("OTHER")}, map[string][]byte{"user-data": make([]byte, 5)})
	wantError(t, same, "find user-data: it is not where the file system says")
	for name, was := range map[string]string{"user-data": "something else", "a/deep/folder/user_data": "longer than it is", "a/deep": "x", "nowhere": "x", "user-data/x": "x"} {
		err := overwriteISO(image, map[string][]byte{name: []byte(was)}, map[string][]byte{name: make([]byte, len(was))})
		wantError(t, err, "find "+name)
	}
	after, err := os.ReadFile(image)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("something was written")
	}
	const deep = "a/deep/folder/user_data"
	if err := overwriteISO(image, map[string][]byte{deep: []byte("secret")}, map[string][]byte{deep: []byte("public")}); err != nil {
		t.Fatal(err)
	}
	got, err := readImage(image, "iso9660", []string{deep, "user-data"}, 100)
	if d := cmp.Diff(map[string][]byte{deep: []byte("public"), "user-data": []byte("other")}, got); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestWipedContent(t *testing.T) {
	for _, n := range []int{1, 5, len(wipedMark), 100} {
		if !isWiped(wipedContent(n)) || len(wipedContent(n)) != n {
			t.Errorf("%d bytes", n)
		}
	}
	for _, text := range []string{"", "#trivet/v1\n", "#trivet/wiped\nname: x\n", "#trivet/wiped by hand"} {
		if isWiped([]byte(text)) {
			t.Errorf("%q is wiped", text)
		}
	}
}
