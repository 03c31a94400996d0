package source

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A serverCase is a server that is not as one would wish.
type serverCase struct {
	name string
	// serve handles the n-th request for user-data, from 1.
	serve func(w http.ResponseWriter, r *http.Request, n int32)
	fails string // what the error says; empty: the seed is read
	asked int32  // how often user-data is asked for
}

func serverCases() []serverCase {
	big := strings.Repeat("x", 64<<10)
	return []serverCase{
		{"slow", func(w http.ResponseWriter, _ *http.Request, _ int32) {
			for _, b := range []byte("#trivet/v1\n") {
				_, _ = w.Write([]byte{b})
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}, "", 1},
		{"503 twice", func(w http.ResponseWriter, _ *http.Request, n int32) {
			if n < 3 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, "", 3},
		{"503 always", func(w http.ResponseWriter, _ *http.Request, _ int32) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "the server answers 503 Service Unavailable (attempt 5)", 5},
		{"404", func(w http.ResponseWriter, r *http.Request, _ int32) { http.NotFound(w, r) }, "the server answers 404 Not Found (attempt 1)", 1},
		{"403", func(w http.ResponseWriter, _ *http.Request, _ int32) { w.WriteHeader(http.StatusForbidden) }, "403 Forbidden", 1},
		{"truncated once", func(w http.ResponseWriter, _ *http.Request, n int32) {
			if n == 1 {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write([]byte("#trivet"))
			}
		}, "", 2},
		{"truncated always", func(w http.ResponseWriter, _ *http.Request, _ int32) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("#trivet"))
		}, "unexpected EOF", 5},
		{"cut", func(http.ResponseWriter, *http.Request, int32) { panic(http.ErrAbortHandler) }, "EOF", 5},
		{"endless", func(w http.ResponseWriter, r *http.Request, _ int32) {
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, big); err != nil {
					return
				}
			}
		}, "the answer has more than 1048576 bytes", 1},
		{"redirect", func(w http.ResponseWriter, r *http.Request, n int32) {
			if n == 1 {
				http.Redirect(w, r, "/moved/user-data", http.StatusFound)
			}
		}, "", 2},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request, _ int32) {
			http.Redirect(w, r, "/user-data", http.StatusFound)
		}, "more than 5 redirects", 30},
	}
}

// TestServers runs the source against servers as they are.
func TestServers(t *testing.T) {
	for _, c := range serverCases() {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "user-data"):
					c.serve(w, r, asked.Add(1))
				case strings.HasSuffix(r.URL.Path, "meta-data"):
				default:
					http.NotFound(w, r)
				}
			}))
			defer s.Close()
			env := testEnv(t)
			serial(t, env, "ds=nocloud;s="+s.URL)
			_, _, err := read(t, env)
			switch {
			case c.fails == "" && err != nil:
				t.Error(err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("got %v, want %s", err, c.fails)
			}
			if asked.Load() != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
}

// TestAppearing: a seed that is not there yet is found when the agent looks
// again.
func TestAppearing(t *testing.T) {
	var there atomic.Bool
	files := serveSeed(seed())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !there.Load() {
			http.NotFound(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer s.Close()
	env := testEnv(t)
	serial(t, env, "ds=nocloud;s="+s.URL+"/seeds/ctl1/")
	if _, _, err := read(t, env); err == nil {
		t.Error("a missing seed was read")
	}
	there.Store(true)
	if _, _, err := read(t, env); err != nil {
		t.Error(err)
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
	if _, _, err := read(t, env); err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers (attempt 5)") {
		t.Errorf("got %v", err)
	}
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

// TestBackoff: pauses grow, are random, and obey the server up to a bound.
func TestBackoff(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer s.Close()
	env := testEnv(t)
	var slept []time.Duration
	env.Sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	if _, err := get(t.Context(), env, s.URL); err == nil || fmt.Sprint(slept) != "[1m0s 1m0s 1m0s 1m0s]" {
		t.Errorf("slept %v (%v)", slept, err)
	}
	slept = nil
	env.Jitter = func() float64 { return 0.5 }
	if _, err := get(t.Context(), env, "http://127.0.0.1:1/"); err == nil || fmt.Sprint(slept) != "[100ms 200ms 400ms 800ms]" {
		t.Errorf("slept %v (%v)", slept, err)
	}
}

// TestNoDowngrade: a redirect from https to http is not followed.
func TestNoDowngrade(t *testing.T) {
	plain := httptest.NewServer(serveSeed(seed()))
	defer plain.Close()
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/seeds/ctl1/user-data", http.StatusFound))
	defer s.Close()
	env := testEnv(t)
	env.Client.Transport.(*http.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := get(t.Context(), env, s.URL); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("got %v", err)
	}
}
