package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a build is: bars on a terminal, a plain line per
// stage elsewhere, and for a long stage one line every ten seconds.
type progress struct {
	w    io.Writer
	tty  bool
	bars *mpb.Progress

	mu      sync.Mutex
	stage   string
	started time.Time
	spoke   time.Time
	bar     *mpb.Bar
	current string
}

const speakEvery = 10 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.tty = true
		p.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	}
	return p
}

func (p *progress) role(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endStage()
	p.current = name
}

// update is builder.Progress.
func (p *progress) update(stage, unit string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stage != p.stage {
		p.endStage()
		p.stage, p.started, p.spoke = stage, time.Now(), time.Now()
		p.begin(unit, total)
	}
	if p.bar != nil {
		if total > 0 {
			p.bar.SetTotal(total, false)
		}
		p.bar.SetCurrent(done)
		return
	}
	if !p.tty && time.Since(p.spoke) >= speakEvery {
		p.spoke = time.Now()
		fmt.Fprintf(p.w, "%s: %s: %s\n", p.current, stage, amount(unit, done, total))
	}
}

func (p *progress) begin(unit string, total int64) {
	if !p.tty {
		return
	}
	right := []decor.Decorator{decor.Elapsed(decor.ET_STYLE_GO)}
	if unit == "B" {
		right = []decor.Decorator{decor.CountersKibiByte("% .0f / % .0f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)}
	} else if total > 0 {
		right = []decor.Decorator{decor.CountersNoUnit("%d / %d " + unit), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)}
	}
	p.bar = p.bars.AddBar(max(total, 1), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%s %-12s", p.current, p.stage))), mpb.AppendDecorators(right...))
}

func (p *progress) endStage() {
	if p.stage == "" {
		return
	}
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar.Wait()
		p.bar = nil
	}
	fmt.Fprintf(p.out(), "%s: %s: %.1f s\n", p.current, p.stage, time.Since(p.started).Seconds())
	p.stage = ""
}

// out is where a line goes so that it stands above the bars.
func (p *progress) out() io.Writer {
	if p.bars != nil {
		return p.bars
	}
	return p.w
}

// Write passes on what a tool printed (--verbose).
func (p *progress) Write(b []byte) (int, error) { return p.out().Write(b) }

func (p *progress) done(r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endStage()
	if r.Unchanged {
		fmt.Fprintf(p.out(), "%s: nothing changed (%.2f s)\n", r.Role, r.Seconds)
		return
	}
	fmt.Fprintf(p.out(), "%s: done in %.1f s, root hash %s, see %s\n", r.Role, r.Seconds, short(r.RootHash), r.Manifest)
}

func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endStage()
	if p.bars != nil {
		p.bars.Wait()
		p.bars = nil
	}
}

func short(hash string) string { return hash[:min(16, len(hash))] + "…" }

func amount(unit string, done, total int64) string {
	if unit == "B" {
		return strings.TrimSpace(fmt.Sprintf("%d MiB of %d MiB", done>>20, total>>20))
	}
	if total == 0 {
		return "still at it"
	}
	return fmt.Sprintf("%d of %d %s", done, total, unit)
}
