package controller

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/playbooks"
)

// A step may be less dangerous than its action can be: releasing what its own playbook held needs no two people, any other release does.
func TestCheckJudgesStepsAsBuilt(t *testing.T) {
	const office = `
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: erp}
spec: {endpoints: [{name: db, url: "sqlite:office.db"}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: feed}
spec: {type: tcp, integration: erp, detect: [{name: down, failures: {}}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: pause-dunning}
spec:
  mode: auto
  on: {anomaly: feed/down}
  limits: {items: 10}
  steps:
    - {name: stop, do: hold, with: {integration: erp, query: "select id as key from dunning", sql: {table: dunning, key: id, flag: held, "on": 1, off: 0}}}
    - {name: go, do: release, with: {integration: erp, OFsql: {table: dunning, key: id, flag: held, "on": 1, off: 0}}}
  verify: {probes: [feed]}
`
	for _, c := range []struct{ of, want string }{
		{"of: stop, ", ""},
		{"query: 'select id as key from dunning', ", "needs-people"},
	} {
		file := filepath.Join(t.TempDir(), "office.yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(office, "OF", c.of, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, findings, err := newLoader(playbooks.Env{}).load(file)
		if err != nil {
			t.Fatal(err)
		}
		var rules []string
		for _, f := range findings {
			if f.Rule != "approvals-not-enforced" {
				rules = append(rules, f.Rule)
			}
		}
		if got := strings.Join(rules, " "); got != c.want {
			t.Errorf("release with %q: findings %q, want %q: %v", c.of, got, c.want, findings)
		}
	}
}
