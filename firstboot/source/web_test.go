package source

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A remote is a source that asks a server, for servers that misbehave.
type remote struct {
	lay   func(t *testing.T, env Env, base string) // points the machine to the server
	serve http.Handler                             // a good server
	user  string                                   // the path of user-data there
}

func remotes() map[string]remote {
	const nocloud = "/seeds/ctl1/user-data"
	seeds := handler(prefixed("/seeds/ctl1/", seed()))
	openstack, ec2 := handler(openStackFiles(whole())), ec2Handler(whole(), true)
	// Its first token is one that ends in the middle, which asks for more requests.
	first := httptest.NewRequest(http.MethodPut, "/latest/api/token", nil)
	first.Header.Set(headerTTL, tokenTTL)
	ec2.ServeHTTP(httptest.NewRecorder(), first)
	return map[string]remote{
		"smbios-serial": {func(t *testing.T, env Env, base string) { serial(t, env, "ds=nocloud;s="+base+"/seeds/ctl1") }, seeds, nocloud},
		"ds=nocloud": {func(t *testing.T, env Env, base string) {
			commandLine(t, env, "ds=nocloud-net;s="+base+"/seeds/ctl1/%s")
		}, seeds, nocloud},
		"trivet.url": {func(t *testing.T, env Env, base string) {
			commandLine(t, env, "trivet.insecure=1 trivet.url="+base+nocloud)
		}, seeds, nocloud},
		"openstack": {func(t *testing.T, env Env, _ string) { commandLine(t, env, "ds=openstack") }, openstack, "/openstack/latest/user_data"},
		"ec2": {func(t *testing.T, env Env, _ string) {
			dmi(t, env, "product_uuid", "EC2F1A2B-3C4D-5E6F-7081-92A3B4C5D6E7")
		}, ec2, "/2016-09-02/user-data"},
	}
}

// A serverCase is a server that is not as one would wish.
type serverCase struct {
	// serve handles the n-th request for user-data, from 1. False: as a good
	// server does.
	serve func(w http.ResponseWriter, r *http.Request, n int32) bool
	fails string // what the error says; empty: the payload is read
	asked int32  // how often user-data is asked for
	// other says so where a source is judged in another way.
	other map[string]string
}

func status(code int) func(http.ResponseWriter, *http.Request, int32) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ int32) bool { w.WriteHeader(code); return true }
}

func serverCases() map[string]serverCase {
	cut := func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("#trivet"))
		return true
	}
	missing := map[string]string{"openstack": "/user_data is missing", "ec2": "/user-data is missing"}
	return map[string]serverCase{
		"slow": {func(w http.ResponseWriter, _ *http.Request, _ int32) bool {
			for _, b := range []byte("#trivet/v1\n") {
				_, _ = w.Write([]byte{b})
				w.(http.Flusher).Flush()
				time.Sleep(2 * time.Millisecond)
			}
			return true
		}, "", 1, nil},
		"503 twice": {func(w http.ResponseWriter, _ *http.Request, n int32) bool {
			if n < 3 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n < 3
		}, "", 3, nil},
		"503 always":    {status(http.StatusServiceUnavailable), "the server answers 503 Service Unavailable (attempt 5)", 5, nil},
		"404":           {status(http.StatusNotFound), "the server answers 404 Not Found (attempt 1)", 1, missing},
		"403":           {status(http.StatusForbidden), "403 Forbidden (attempt 1)", 1, nil},
		"418, and more": {status(http.StatusTeapot), "418 I'm a teapot (attempt 1)", 1, nil},
		"truncated once": {func(w http.ResponseWriter, _ *http.Request, n int32) bool {
			return n == 1 && cut(w)
		}, "", 2, nil},
		"truncated always": {func(w http.ResponseWriter, _ *http.Request, _ int32) bool { return cut(w) }, "unexpected EOF", 5, nil},
		"cut":              {func(http.ResponseWriter, *http.Request, int32) bool { panic(http.ErrAbortHandler) }, "EOF", 5, nil},
		"endless": {func(w http.ResponseWriter, r *http.Request, _ int32) bool {
			big := strings.Repeat("x", 64<<10)
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, big); err != nil {
					break
				}
			}
			return true
		}, "the answer has more than 1048576 bytes", 1, nil},
		"redirect": {func(w http.ResponseWriter, r *http.Request, n int32) bool {
			if n == 1 {
				http.Redirect(w, r, r.URL.Path+"?moved", http.StatusFound)
			}
			return n == 1
		}, "", 2, map[string]string{"ec2": "the metadata service redirects, which it never does"}},
		"redirects in a circle": {func(w http.ResponseWriter, r *http.Request, _ int32) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}, "more than 5 redirects (attempt 1)", 6, map[string]string{"ec2": "the metadata service redirects"}},
	}
}

// TestServers runs every remote source against servers as they are.
func TestServers(t *testing.T) {
	for source, r := range remotes() {
		for name, c := range serverCases() {
			t.Run(source+", "+name, func(t *testing.T) {
				var asked atomic.Int32
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path != r.user || !c.serve(w, req, asked.Add(1)) {
						r.serve.ServeHTTP(w, req)
					}
				}))
				defer s.Close()
				env := testEnv(t)
				env.IMDS = []string{s.URL + "/"}
				r.lay(t, env, s.URL)
				want := c.fails
				other, judged := c.other[source]
				if judged {
					want = other
				}
				_, _, err := read(t, env)
				wantError(t, err, want)
				if !judged && asked.Load() != c.asked {
					t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
				}
				if err != nil && strings.Contains(err.Error(), "AA") {
					t.Errorf("a token is said: %v", err)
				}
			})
		}
	}
}

// TestAppearing: a machine that a server does not know yet is asked for again,
// at once by sources that wait, else when the agent looks again.
func TestAppearing(t *testing.T) {
	for source, r := range remotes() {
		t.Run(source, func(t *testing.T) {
			var asked atomic.Int32
			var from atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if asked.Add(1) < from.Load() {
					http.NotFound(w, req)
					return
				}
				r.serve.ServeHTTP(w, req)
			}))
			defer s.Close()
			env := testEnv(t)
			env.IMDS = []string{s.URL}
			r.lay(t, env, s.URL)
			waits := source == "openstack" || source == "ec2"
			from.Store(4)
			if _, _, err := read(t, env); (err == nil) != waits {
				t.Errorf("after 404 three times: %v", err)
			}
			asked.Store(0)
			from.Store(100)
			_, _, err := read(t, env)
			wantError(t, err, "404")
			if want := map[bool]int32{true: 5, false: 1}[waits]; asked.Load() != want {
				t.Errorf("asked %d times, want %d", asked.Load(), want)
			}
			from.Store(0)
			if _, _, err := read(t, env); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPatience: a server that takes the connection and says nothing does not
// hold the agent beyond the limits, and ctx ends it at once.
func TestPatience(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	env := testEnv(t)
	env.Client.Transport.(*http.Transport).ResponseHeaderTimeout = 20 * time.Millisecond
	serial(t, env, "ds=nocloud;s="+s.URL)
	_, _, err := read(t, env)
	wantError(t, err, "timeout awaiting response headers (attempt 5)")
	env.Client.Transport.(*http.Transport).ResponseHeaderTimeout = time.Minute
	c, _, err := Look(env, All())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.Read(ctx); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func get(t *testing.T, env Env, at string) ([]byte, error) {
	return env.fetch(t.Context(), request{client: env.Client, urls: []string{at}, limit: 1 << 20})
}

// TestBackoff: pauses grow, are random, and obey the server up to a bound.
func TestBackoff(t *testing.T) {
	after := "3600"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer s.Close()
	env := testEnv(t)
	var slept []time.Duration
	env.Sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	for _, c := range []struct {
		at, after string
		jitter    float64
		want      string
	}{
		{s.URL, "3600", 1, "[1m0s 1m0s 1m0s 1m0s]"},
		{s.URL, "99999999999999999999", 1, "[1m0s 1m0s 1m0s 1m0s]"},
		{s.URL, "Wed, 21 Oct 2026 07:28:00 GMT", 1, "[200ms 400ms 800ms 1.6s]"},
		{s.URL, "9223372036854775807", 1, "[1m0s 1m0s 1m0s 1m0s]"},
		{s.URL, "-5", 0, "[0s 0s 0s 0s]"},
		{"http://127.0.0.1:1/", "", 0.5, "[100ms 200ms 400ms 800ms]"},
	} {
		slept, after = nil, c.after
		env.Jitter = func() float64 { return c.jitter }
		if _, err := get(t, env, c.at); err == nil || fmt.Sprint(slept) != c.want {
			t.Errorf("%s, Retry-After %s: slept %v (%v)", c.at, c.after, slept, err)
		}
	}
}

// TestNoDowngrade: a redirect from https to http is not followed, also behind
// one from http to https.
func TestNoDowngrade(t *testing.T) {
	plain := httptest.NewServer(handler(map[string]string{"/x": goodUser}))
	defer plain.Close()
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/x", http.StatusFound))
	defer s.Close()
	first := httptest.NewServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer first.Close()
	env := testEnv(t)
	env.Client.Transport.(*http.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
	for _, at := range []string{s.URL, first.URL} {
		_, err := get(t, env, at)
		wantError(t, err, "a redirect leads from https to http (attempt 1)")
	}
	secure := httptest.NewTLSServer(handler(map[string]string{"/x": goodUser}))
	defer secure.Close()
	up := httptest.NewServer(http.RedirectHandler(secure.URL+"/x", http.StatusFound))
	defer up.Close()
	env.Client.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	if data, err := get(t, env, up.URL); err != nil || string(data) != goodUser {
		t.Errorf("from http to https: %v", err)
	}
}

// TestEC2: version 1 is refused on AWS, a token that is refused is renewed once,
// and the service is not mistaken for what it is not.
func TestEC2(t *testing.T) {
	const onAWS = "EC2F1A2B-3C4D-5E6F-7081-92A3B4C5D6E7"
	v1 := ec2Handler(whole(), false)
	refusing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = w.Write([]byte("T"))
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	odd := func(token string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(token)) })
	}
	for name, c := range map[string]struct {
		serve     http.Handler
		uuid, cmd string
		fails     string
		puts      int
	}{
		"v1 on AWS":               {v1, onAWS, "", "get a token of IMDSv2: PUT", 1},
		"v1 on AWS, asked for":    {v1, onAWS, "ds=ec2", "get a token of IMDSv2: PUT", 1},
		"v1 elsewhere":            {v1, "", "ds=ec2", "", 1},
		"a token never good":      {refusing, onAWS, "", "the server answers 401 Unauthorized (attempt 1)", 2},
		"a token that is no text": {odd("a\nb"), onAWS, "", "something that is not a token", 1},
		"an empty token":          {odd(""), onAWS, "", "something that is not a token", 1},
		"a token without end":     {odd(strings.Repeat("x", maxToken+1)), onAWS, "", "more than 4096 bytes", 1},
		"no version":              {odd("T"), onAWS, "", "lists no version that is known", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			puts := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				if r.Method == http.MethodPut {
					puts++
				}
				mu.Unlock()
				c.serve.ServeHTTP(w, r)
			}))
			defer s.Close()
			env := testEnv(t)
			env.IMDS = []string{s.URL}
			dmi(t, env, "product_uuid", c.uuid)
			commandLine(t, env, c.cmd)
			_, _, err := read(t, env)
			wantError(t, err, c.fails)
			if puts != c.puts {
				t.Errorf("%d tokens asked for, want %d", puts, c.puts)
			}
		})
	}
}

// TestPlatforms: which machines are asked for a metadata service.
func TestPlatforms(t *testing.T) {
	for name, c := range map[string]struct{ file, value, want string }{
		"Nova":             {"product_name", "OpenStack Nova", "openstack-imds"},
		"Compute":          {"product_name", "OpenStack Compute", "openstack-imds"},
		"a tag":            {"chassis_asset_tag", "OpenTelekomCloud", "openstack-imds"},
		"no product":       {"product_name", "Huawei", "none"},
		"not a tag":        {"chassis_asset_tag", "openstack", "none"},
		"EC2":              {"product_uuid", "ec2e1916-9099-7caf-fd21-012345abcdef", "ec2"},
		"EC2, other end":   {"product_uuid", "45e12aec-dcd1-b213-94ed-01234abcdef0", "ec2"},
		"not EC2":          {"product_uuid", "45e1ec2a-dcd1-b213-94ed-01234abcdef0", "none"},
		"EC2 in the midst": {"product_uuid", "aec2e191-9099-7caf-fd21-012345abcdef", "none"},
		"unset":            {"product_uuid", "\xff\xff\xff", "none"},
	} {
		env := testEnv(t)
		dmi(t, env, c.file, c.value)
		_, tried, err := Look(env, All())
		if got, _ := taken(tried); got != c.want || err != nil {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	env := testEnv(t)
	put(t, env.path("/sys/hypervisor/uuid"), []byte("ec2e1916-9099-7caf-fd21-012345abcdef\n"))
	if _, tried, _ := Look(env, All()); tried[8].State != "taken" {
		t.Errorf("a hypervisor: %+v", tried[8])
	}
}

// TestBases: IPv4 is asked before IPv6, and the next address only if the one
// before does not answer at all.
func TestBases(t *testing.T) {
	env := testEnv(t)
	env.IMDS = nil
	put(t, env.path("/sys/class/net/lo/address"), nil)
	put(t, env.path("/sys/class/net/eno1/address"), nil)
	want := []string{"http://169.254.169.254", "http://[fe80::a9fe:a9fe%25eno1]"}
	if got := openStackBases(env); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	good := serveOpenStack(t, whole())
	var asked atomic.Int32
	angry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer angry.Close()
	commandLine(t, env, "ds=openstack")
	env.IMDS = []string{"http://127.0.0.1:1", good, angry.URL}
	if _, _, err := read(t, env); err != nil || asked.Load() > 0 {
		t.Errorf("%v, and the third was asked %d times", err, asked.Load())
	}
	env.IMDS = []string{angry.URL, good}
	_, _, err := read(t, env)
	wantError(t, err, "403 Forbidden (attempt 1)")
	env.IMDS = []string{serve(t, map[string]string{"/openstack": strings.Repeat("x", 1<<20)}), angry.URL}
	asked.Store(0)
	_, _, err = read(t, env)
	wantError(t, err, "the answer has more than 65536 bytes (attempt 1)")
	if asked.Load() > 0 {
		t.Error("another address was asked after an answer that is too long")
	}
}
