package controller

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/playbooks"
)

// Check reads everything below the paths and reports what is wrong with it. It does no I/O beyond reading the files.
func Check(paths []string) (api.Findings, error) {
	var all api.Findings
	for _, path := range paths {
		found, err := checkPath(path)
		if err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// checkPath checks one file or folder, and each scenario in it against the files that it uses.
func checkPath(path string) (api.Findings, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, err
	}
	var all api.Findings
	scenarios := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !isScenarioFile(f) })
	if len(scenarios) < len(files) {
		_, set, findings, err := newLoader(playbooks.Env{}).load(path)
		if err != nil {
			return nil, err
		}
		all = findings
		for i := range set.Scenarios {
			if f := set.Scenarios[i].Pos.File; f != "" && !slices.Contains(scenarios, f) {
				scenarios = append(scenarios, f)
			}
		}
	}
	for _, f := range scenarios {
		_, findings, err := readScenarios(f, change{})
		if err != nil && api.CodeOf(err) != api.CodeNotFound {
			return nil, err
		}
		if err != nil {
			findings = append(findings, api.Finding{Pos: api.Pos{File: f}, Severity: api.SeverityError, Rule: "no-files", Message: err.Error()})
		}
		all = append(all, findings...)
	}
	return once(all), nil
}

// buildOf names the build in reports: without the machine, for a report is the same on every one.
func buildOf() string {
	version, _, _ := strings.Cut(Version(), " "+runtime.Version())
	return version
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
