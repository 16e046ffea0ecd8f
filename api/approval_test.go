package api

import (
	"strings"
	"testing"
)

const approvalYAML = `apiVersion: backstay.dev/v1alpha1
kind: Approval
metadata: {name: card-gateway-failover}
spec:
  playbook: card-gateway-failover
  digest: sha256:9b3c0d6a1f2e4b5c8d7e9f00112233445566778899aabbccddeeff0011223344
  author: bob@example.com
  mode: auto
  expires: 2027-02-20T00:00:00Z
  scope: production
  comment: "CHG-1042: after the drill"
  signatures:
    - |
      -----BEGIN SSH SIGNATURE-----
      AAAA
      -----END SSH SIGNATURE-----
`

// TestApprovalMessage holds the text that people sign. It never changes: old signatures are over it.
func TestApprovalMessage(t *testing.T) {
	set, findings := Decode("x.yaml", []byte(approvalYAML))
	if len(findings) > 0 || len(set.Approvals) != 1 {
		t.Fatal(findings)
	}
	const want = `backstay playbook approval v1
playbook: card-gateway-failover
digest: sha256:9b3c0d6a1f2e4b5c8d7e9f00112233445566778899aabbccddeeff0011223344
author: bob@example.com
mode: auto
expires: 2027-02-20T00:00:00Z
scope: production
report: -
comment: CHG-1042: after the drill
`
	spec := set.Approvals[0].Spec
	if got := string(spec.Message()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	spec.Signatures = nil
	if string(spec.Message()) != want {
		t.Error("signatures are part of the message")
	}
}

// TestApprovalRefused: nothing may be written that could be read in two ways.
func TestApprovalRefused(t *testing.T) {
	for _, c := range [][3]string{
		{"mode: auto", "mode: suggest", "spec.mode"},
		{"mode: auto", "mode: observe", "spec.mode"},
		{"sha256:9b3c", "sha256:9B3C", "spec.digest"},
		{"sha256:9b3c", "md5:9b3c", "spec.digest"},
		{"2027-02-20T00:00:00Z", "2027-02-20", "spec.expires"},
		{"2027-02-20T00:00:00Z", "2027-02-20T00:00:00+01:00", "spec.expires"},
		{"2027-02-20T00:00:00Z", "2027-02-20T00:00:00.5Z", "spec.expires"},
		{"  expires: 2027-02-20T00:00:00Z\n", "", "spec.expires is missing"},
		{"scope: production", "scope: Production", "spec.scope"},
		{`"CHG-1042: after the drill"`, `"two\nmode: auto"`, "spec.comment"},
		{`"CHG-1042: after the drill"`, `" blank"`, "spec.comment"},
		{`"CHG-1042: after the drill"`, `"-"`, "spec.comment"},
		{`"CHG-1042: after the drill"`, `"right\u202eto left"`, "spec.comment"},
		{"bob@example.com", `"-"`, "spec.author"},
		{"  mode: auto", "  mode: auto\n  people: 1", `unknown key "people"`},
	} {
		text := strings.Replace(approvalYAML, c[0], c[1], 1)
		if text == approvalYAML {
			t.Fatalf("%q is not in the text", c[0])
		}
		set, findings := Decode("x.yaml", []byte(text))
		if len(set.Approvals) != 0 || len(findings) != 1 || !strings.Contains(findings[0].Message, c[2]) {
			t.Errorf("%q: %v, want one about %s", c[1], findings, c[2])
		}
	}
}

func TestModesInOrder(t *testing.T) {
	order := []Mode{ModeObserve, ModeSuggest, ModeApprove, ModeAuto}
	for i, a := range order {
		for j, b := range order {
			if want := order[min(i, j)]; a.Lesser(b) != want {
				t.Errorf("the lesser of %s and %s is %s", a, b, a.Lesser(b))
			}
		}
	}
	if Mode("everything").Lesser(ModeSuggest) != "everything" || Mode("everything").Rank() != 0 {
		t.Error("an unknown mode is trusted")
	}
}

func TestPlace(t *testing.T) {
	set, _ := Decode("x.yaml", []byte(approvalYAML))
	if got := set.Place(KindApproval, "card-gateway-failover", "spec.mode"); got != (Pos{"x.yaml", 8, 9}) {
		t.Errorf("%+v", got)
	}
	if got := set.Place(KindPlaybook, "card-gateway-failover", "spec.mode"); got != (Pos{}) {
		t.Errorf("%+v", got)
	}
}
