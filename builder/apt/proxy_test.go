package apt

import (
	"net/http"
	"testing"
)

func TestParseProxy(t *testing.T) {
	t.Setenv("http_proxy", "") // the environment's is read once a process; here there is none
	for _, c := range []struct{ name, text, http, https string }{
		{"none", "", "", ""},
		{"http", "Acquire::http::Proxy=http://cache.example:3142/\n", "http://cache.example:3142/", ""},
		{"both", "Acquire::http::Proxy=http://a.example:1\nAcquire::https::Proxy=http://b.example:2\n", "http://a.example:1", "http://b.example:2"},
		{"direct", "Acquire::http::Proxy=DIRECT\n", "", ""},
		{"empty and others", "Acquire::http::Proxy=\nAcquire::ftp::Proxy=http://c.example\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy, err := parseProxy(c.text)
			if err != nil {
				t.Fatal(err)
			}
			for at, want := range map[string]string{"http://archive.example/debian": c.http, "https://archive.example/debian": c.https} {
				r, err := http.NewRequest(http.MethodGet, at, nil)
				if err != nil {
					t.Fatal(err)
				}
				u, err := proxy(r)
				got := ""
				if u != nil {
					got = u.String()
				}
				if err != nil || got != want {
					t.Errorf("for %s: %q, %v; want %q", at, got, err, want)
				}
			}
		})
	}
	if _, err := parseProxy("Acquire::http::Proxy=cache:3142\n"); err == nil {
		t.Error("a proxy that is no URL was taken")
	}
}

func FuzzParseProxy(f *testing.F) {
	f.Add("Acquire::http::Proxy=http://u:p@cache.example:3142/\n")
	f.Fuzz(func(t *testing.T, text string) {
		if proxy, err := parseProxy(text); err == nil && proxy == nil {
			t.Error("neither a proxy nor an error")
		}
	})
}
