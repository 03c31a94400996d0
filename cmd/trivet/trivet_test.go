package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/builder"
	"trivet/builder/host"
)

func TestMain(m *testing.M) {
	host.Main(builder.Funcs())
	testscript.Main(m, map[string]func(){
		"trivet": func() { os.Exit(run(context.Background(), os.Args, os.Stdout, os.Stderr)) },
	})
}

// TestStories runs the command as a user does: testdata/*.txt.
func TestStories(t *testing.T) {
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("REPO", source+"/../..")
			env.Setenv("TRIVET_CACHE", env.WorkDir+"/cache")
			return nil
		},
	})
}
