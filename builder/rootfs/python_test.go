package rootfs

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder/host"
)

// compileOnHost runs inside/compile.py with the host's Python and returns the
// byte code by package and number.
func compileOnHost(t *testing.T, packages []pythonPackage) (map[string]string, string) {
	t.Helper()
	if _, err := host.Look("python3"); err != nil {
		t.Skip("needs python3")
	}
	out := t.TempDir()
	job, err := json.Marshal(pythonJob{Jobs: 2, Out: out, Packages: packages})
	if err != nil {
		t.Fatal(err)
	}
	var answer, log bytes.Buffer
	c := host.Command{Args: []string{"python3", "-S", "-s", "inside/compile.py"}, Env: []string{"PYTHONHASHSEED=0"}, Stdin: bytes.NewReader(job), Stdout: &answer, Stderr: &log}
	if err := host.Exec(t.Context(), c); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	files, err := filepath.Glob(filepath.Join(out, "*/*.pyc"))
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]string{}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code[strings.TrimPrefix(f, out+"/")] = string(body)
	}
	return code, answer.String()
}

func TestCompileIsTheSameInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	var packages []pythonPackage
	for _, p := range []string{"a", "b", "c"} {
		pkg := pythonPackage{Key: p}
		for _, m := range []string{"one", "two"} {
			path := filepath.Join(dir, p+m+".py")
			source := "'''Doc of " + m + "'''\nimport os\nSHARED = {'x': 1, 'name of " + p + "': frozenset({'q', 'r', 's'})}\ndef f(shared, *, key='a word'):\n    return [shared for _ in range(3)], 'a word', 'SHARED'\n"
			if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
			pkg.Files = append(pkg.Files, [2]any{path, testTime})
		}
		packages = append(packages, pkg)
	}
	bad := filepath.Join(dir, "bad.py")
	if err := os.WriteFile(bad, []byte("print 'two'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	packages[0].Files = append(packages[0].Files, [2]any{bad, testTime})
	first, answer := compileOnHost(t, packages)
	if len(first) != 6 || !strings.Contains(answer, `"bad": ["`+bad+`"]`) {
		t.Fatalf("%d files; answer: %s", len(first), answer)
	}
	second, _ := compileOnHost(t, []pythonPackage{packages[2], packages[1], packages[0]})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("another order, other byte code:\n%s", diff)
	}
	// PEP 552: flags 0, then the source's time.
	if head := first["a/1.pyc"]; head[4:8] != "\x00\x00\x00\x00" || head[8:12] != "\x00\x10\x5e\x5f" {
		t.Errorf("header %q", head[:16])
	}
}

func TestCompileDirs(t *testing.T) {
	for _, test := range []struct {
		script string
		want   []string
	}{
		{"if true; then\n\tpy3compile -p python3-nova\nfi\n", []string{publicModules}},
		{"py3compile -p python3-ovs:amd64 -V 3.10-\n", []string{publicModules}},
		{"\tpy3compile -p horizon /usr/share/horizon -X '.*/x'\n", []string{"usr/share/horizon"}},
		{"pypy3compile -p python3-nova || true\n# py3compile\n", nil},
	} {
		if diff := cmp.Diff(test.want, compileDirs(test.script)); diff != "" {
			t.Errorf("compileDirs(%q) (-want +got):\n%s", test.script, diff)
		}
	}
}

func TestIsSource(t *testing.T) {
	dirs := []string{publicModules, "usr/share/horizon"}
	for name, want := range map[string]bool{
		"usr/lib/python3/dist-packages/nova/api.py":               true,
		"usr/lib/python3/dist-packages/nova/tests/unit/test_x.py": false,
		"usr/lib/python3/dist-packages/nova/testing.py":           true,
		"usr/lib/python3.13/json/__init__.py":                     true,
		"usr/lib/python3.13x/json/__init__.py":                    false,
		"usr/share/horizon-settings.d/x.py":                       true,
		"usr/share/other/x.py":                                    false,
	} {
		if got := isSource(name, dirs); got != want {
			t.Errorf("isSource(%s) = %v", name, got)
		}
	}
}

func TestHoldsKey(t *testing.T) {
	body := strings.Repeat("MIIEpAIBAAKCAQEA", 5)
	for text, want := range map[string]bool{
		"-----BEGIN RSA PRIVATE KEY-----\n" + body:                                                       true,
		"-----BEGIN PRIVATE KEY-----\r\n" + body:                                                         true,
		"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body:                                                   true,
		"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n" + body:                                   true,
		"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123\n\n" + body: true,
		`key = "-----BEGIN RSA PRIVATE KEY-----\n` + body + `"`:                                          true,
		"PRIVATE KEY PRIVATE KEY -----BEGIN X PRIVATE KEY-----\n" + body:                                 true,
		"-----BEGIN CERTIFICATE-----\n" + body:                                                           false,
		"-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n" + body:                        false,
		"if b'-----BEGIN PRIVATE KEY-----' in data: return " + body:                                      false,
		"-----BEGIN RSA PRIVATE KEY-----":                                                                false,
	} {
		if got := holdsKey([]byte(text)); got != want {
			t.Errorf("holdsKey(%q) = %v", text, got)
		}
		for _, size := range []int{1, 5, 11, 4096} {
			var m keyMarker
			for b := []byte(text); len(b) > 0; b = b[min(size, len(b)):] {
				m.write(b[:min(size, len(b))])
			}
			if found := strings.Contains(text, keyMark); m.found != found {
				t.Errorf("marker in pieces of %d of %q: %v", size, text, m.found)
			}
		}
	}
}

func FuzzKeyMarker(f *testing.F) {
	f.Add([]byte("xx PRIVATE KEYPRIVATE KEY"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var m keyMarker
		for b := text; len(b) > 0; b = b[min(int(size)+1, len(b)):] {
			m.write(b[:min(int(size)+1, len(b))])
		}
		if want := bytes.Contains(text, []byte(keyMark)); m.found != want {
			t.Errorf("found %v, want %v", m.found, want)
		}
		holdsKey(text)
	})
}
