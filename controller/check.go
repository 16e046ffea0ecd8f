package controller

import (
	"runtime"
	"runtime/debug"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/playbooks"
)

// Check reads everything below the paths and reports what is wrong with it. It does no I/O beyond reading the files.
func Check(paths []string) (api.Findings, error) {
	var all api.Findings
	for _, path := range paths {
		_, _, findings, err := newLoader(playbooks.Env{}).load(path)
		if err != nil {
			return all, err
		}
		all = append(all, findings...)
	}
	return all, nil
}

// Version tells version, revision and toolchain, as the build recorded them.
func Version() string {
	version, revision := "devel", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				revision = " " + s.Value[:12]
			}
		}
	}
	return "backstay " + version + revision + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// Schema is the JSON Schema of every kind, with the parameters of every probe type, action and driver.
func Schema() []byte { return api.Schema(catalog()) }
