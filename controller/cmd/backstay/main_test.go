package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary stand in for backstay, so that scripts run the program as people do.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"backstay": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
		"do-then-mark": func() { // the control of TestKill
			if err := doThenMark(os.Args[1], os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		},
	})
}

// TestScripts runs testdata/*.txtar: each reads as documentation of one thing that backstay does.
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// TestRealSystems runs testdata/real/*.txtar against HAProxy, RabbitMQ, PostgreSQL and stripe-mock, which it starts for
// itself on free loopback ports.
func TestRealSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("real systems are left out of short runs")
	}
	runScripts(t, "testdata/real")
}

func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(8 * time.Minute),
		Cmds:                worldCommands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BACKSTAY_DATA", env.WorkDir+"/data")
			env.Setenv("NO_COLOR", "1")
			env.Values[worldKey{}] = newWorld(env)
			return nil
		},
	})
}
