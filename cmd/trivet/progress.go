package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a build is: bars on a terminal, a plain line per
// stage elsewhere, and for a long stage one line every ten seconds. Stages may
// run at the same time.
type progress struct {
	w    io.Writer
	tty  bool
	bars *mpb.Progress

	mu      sync.Mutex
	current string // the role
	stages  map[string]*shown
	order   []string // of the stages that run, by their begin
}

// shown is one stage that runs.
type shown struct {
	started, spoke time.Time
	open           bool // its size is unknown: it ends when another begins
	bar            *mpb.Bar
}

const speakEvery = 10 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, stages: map[string]*shown{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.tty = true
		p.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	}
	return p
}

func (p *progress) role(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAll()
	p.current = name
}

// update is builder.Progress. A stage of known size ends when it is whole, one
// of unknown size when the next begins.
func (p *progress) update(stage, unit string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stages[stage]
	if s == nil {
		if done > 0 && done >= total {
			return // the last word of a stage that was over already
		}
		for _, o := range slices.Clone(p.order) {
			if p.stages[o].open {
				p.end(o)
			}
		}
		s = p.begin(stage, unit, total)
	}
	if s.bar != nil {
		s.bar.SetTotal(max(total, 1), false)
		s.bar.SetCurrent(done)
	} else if !p.tty && time.Since(s.spoke) >= speakEvery {
		s.spoke = time.Now()
		fmt.Fprintf(p.w, "%s: %s: %s\n", p.current, stage, amount(unit, done, total))
	}
	if total > 0 && done >= total {
		p.end(stage)
	}
}

func (p *progress) begin(stage, unit string, total int64) *shown {
	s := &shown{started: time.Now(), spoke: time.Now(), open: total == 0}
	p.stages[stage] = s
	p.order = append(p.order, stage)
	if !p.tty {
		return s
	}
	right := []decor.Decorator{decor.Elapsed(decor.ET_STYLE_GO)}
	if unit == "B" {
		right = []decor.Decorator{decor.CountersKibiByte("% .0f / % .0f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)}
	} else if total > 0 {
		right = []decor.Decorator{decor.CountersNoUnit("%d / %d " + unit), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)}
	}
	s.bar = p.bars.AddBar(max(total, 1), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%s %-12s", p.current, stage))), mpb.AppendDecorators(right...))
	return s
}

// end ends one stage, with a line if it took time that a person notices.
func (p *progress) end(stage string) {
	s := p.stages[stage]
	delete(p.stages, stage)
	p.order = slices.DeleteFunc(p.order, func(o string) bool { return o == stage })
	if s.bar != nil {
		s.bar.Abort(true)
		s.bar.Wait()
	}
	if took := time.Since(s.started); took >= 100*time.Millisecond {
		fmt.Fprintf(p.out(), "%s: %s: %.1f s\n", p.current, stage, took.Seconds())
	}
}

func (p *progress) endAll() {
	for len(p.order) > 0 {
		p.end(p.order[0])
	}
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
	p.endAll()
	if r.Unchanged {
		fmt.Fprintf(p.out(), "%s: nothing changed (%.2f s)\n", r.Role, r.Seconds)
		return
	}
	fmt.Fprintf(p.out(), "%s: done in %.1f s, root hash %s, see %s\n", r.Role, r.Seconds, short(r.RootHash), r.Manifest)
}

func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAll()
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
