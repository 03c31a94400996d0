package builder

import "time"

// clock keeps the time of each stage.
type clock struct{ stages []Stage }

func newClock() *clock { return &clock{} }

// stage begins a stage; the returned function ends it.
func (c *clock) stage(name string) func() {
	start := time.Now()
	return func() {
		c.stages = append(c.stages, Stage{Name: name, Took: time.Since(start)})
	}
}
