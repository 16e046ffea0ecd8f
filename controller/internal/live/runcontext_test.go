package live

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type runKey struct{}

// TestRunContextIsAContext holds the context of a run to what the standard library's would say, whoever asks first for what.
func TestRunContextIsAContext(t *testing.T) {
	cases := map[string]func(t *testing.T, c *runContext, stop func()){
		"nothing happened": func(t *testing.T, c *runContext, _ func()) {
			if at, has := c.Deadline(); !has || time.Until(at) != time.Second || c.Err() != nil || c.Value(runKey{}) != "kept" {
				t.Errorf("deadline %s, error %v, value %v", at, c.Err(), c.Value(runKey{}))
			}
		},
		"the deadline, unasked": func(t *testing.T, c *runContext, _ func()) {
			time.Sleep(time.Second)
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Error(c.Err())
			}
		},
		"the deadline, waited for": func(t *testing.T, c *runContext, stop func()) {
			begin := time.Now()
			<-c.Done()
			stop()
			if time.Since(begin) != time.Second || !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("%v after %s", c.Err(), time.Since(begin))
			}
		},
		"a stop": func(t *testing.T, c *runContext, stop func()) {
			stop()
			if <-c.Done(); !errors.Is(c.Err(), context.Canceled) {
				t.Error(c.Err())
			}
		},
		"a stop, told": func(t *testing.T, c *runContext, stop func()) {
			told := make(chan string, 2)
			first := c.OnStop(func() { told <- "first" })
			second := c.OnStop(func() { told <- "second" })
			stop()
			if a, b := <-told, <-told; a == b || first() || second() {
				t.Errorf("told %s and %s", a, b)
			}
		},
		"told after the stop": func(t *testing.T, c *runContext, stop func()) {
			stop()
			synctest.Wait()
			told := make(chan bool)
			ended := c.OnStop(func() { told <- true })
			if <-told; ended() {
				t.Error("it says that it was not called")
			}
		},
		"no longer told": func(t *testing.T, c *runContext, stop func()) {
			other := c.runs.begin(time.Minute)
			defer other.OnStop(func() {})()
			if !c.OnStop(func() { t.Error("told") })() {
				t.Error("it says that it was called")
			}
			stop()
			synctest.Wait()
		},
		"not told of the deadline": func(t *testing.T, c *runContext, _ func()) {
			ended := c.OnStop(func() { t.Error("told") })
			time.Sleep(2 * time.Second)
			if !ended() {
				t.Error("it says that it was called")
			}
		},
		"a child": func(t *testing.T, c *runContext, _ func()) {
			child, cancel := context.WithTimeout(c, time.Hour)
			defer cancel()
			c.end()
			if <-child.Done(); !errors.Is(child.Err(), context.Canceled) {
				t.Error(child.Err())
			}
		},
		"asked after its end": func(t *testing.T, c *runContext, _ func()) {
			c.end()
			if <-c.Done(); !errors.Is(c.Err(), context.Canceled) {
				t.Error(c.Err())
			}
		},
	}
	for name, see := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, stop := context.WithCancel(context.WithValue(context.Background(), runKey{}, "kept"))
				defer stop()
				c := newRuns(parent).begin(time.Second)
				defer c.end()
				see(t, c, stop)
			})
		})
	}
}
