package api

import (
	"fmt"
	"testing"
)

// Many warnings hide no error, and are none.
func TestManyWarningsAreNoError(t *testing.T) {
	var s Set
	detect := []Detector{{Name: "down", Failures: &Failures{AtLeast: 1, Of: 1, Clear: 1}}} // with no place in the graph: a warning
	for i := range findingsMax + 100 {
		s.Probes = append(s.Probes, Probe{Metadata: Metadata{Name: fmt.Sprintf("p%d", i)}, Spec: ProbeSpec{Type: "t", Every: Seconds(10), Timeout: Seconds(5), Detect: detect}})
	}
	cat := Catalog{Probes: []TypeInfo{{Name: "t", Params: func() any { return new(struct{}) }}}}
	found := s.Validate(cat)
	if len(found) != findingsMax+1 || found.Failed() {
		t.Fatalf("%d findings, failed: %v; want %d warnings and one that says so", len(found), found.Failed(), findingsMax)
	}
	s.Probes = append(s.Probes, Probe{Metadata: Metadata{Name: "last"}, Spec: ProbeSpec{Type: "nonsense", Every: Seconds(10)}})
	if found = s.Validate(cat); !found.Failed() {
		t.Error("the error after many warnings is not reported")
	}
}
