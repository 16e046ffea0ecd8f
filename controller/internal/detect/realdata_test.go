package detect

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// The data are labelled operations metrics: folders kpi, wsd and cloudmon, each with labels.json and data/SERIES.csv.gz
// (timestamp in Unix seconds, value; an empty value is missing). They are not part of the repository.

// series is one labelled metric.
type series struct {
	name      string
	at        []int64
	value     []float64
	row       []int // in the file
	step      time.Duration
	scoreFrom int      // rows before are for learning only
	segments  [][2]int // first and last row of each labelled anomaly
}

// score counts what a detector found in the scored part. An episode is true when it opens inside a labelled segment, three
// rows of slack; a segment is found when an episode opens in it. An anomaly that is simply always open finds nothing.
type score struct {
	episodes, trueEpisodes int
	segments, found        int
	days                   float64
}

func (s *score) add(o score) {
	s.episodes += o.episodes
	s.trueEpisodes += o.trueEpisodes
	s.segments += o.segments
	s.found += o.found
	s.days += o.days
}

func (s score) precision() float64 { return float64(s.trueEpisodes) / float64(max(s.episodes, 1)) }
func (s score) recall() float64    { return float64(s.found) / float64(max(s.segments, 1)) }
func (s score) f1() float64 {
	p, r := s.precision(), s.recall()
	if p+r == 0 {
		return 0
	}
	return 2 * p * r / (p + r)
}
func (s score) falsePerDay() float64 { return float64(s.episodes-s.trueEpisodes) / max(s.days, 1e-9) }

func TestBaselineOnRealMetrics(t *testing.T) {
	root := os.Getenv("BACKSTAY_TEST_DATA")
	if root == "" {
		t.Skip("SKIPPED: set BACKSTAY_TEST_DATA to a folder of labelled metrics (kpi, wsd, cloudmon) to measure the baseline on real data")
	}
	var all []series
	for _, set := range []string{"kpi", "wsd", "cloudmon"} {
		loaded := load(t, filepath.Join(root, set))
		sweep(t, set, loaded)
		all = append(all, loaded...)
	}
	bestPlain, atDefault := sweep(t, "all", all)
	if atDefault.f1() <= bestPlain.f1() {
		t.Errorf("the baseline at its default (F1 %.3f) should beat the best plain threshold (F1 %.3f)", atDefault.f1(), bestPlain.f1())
	}
}

// sweep prints the baseline and a plain threshold (median and MAD of the learning part) over the same sensitivities.
func sweep(t *testing.T, set string, all []series) (bestPlain, atDefault score) {
	for _, k := range []float64{3, 4, 5, 6, 8, 10, 15} {
		var plain, learned score
		for i := range all {
			s := &all[i]
			plain.add(judged(t, s, plainThreshold(s, k)))
			learned.add(judged(t, s, api.Detector{Name: "d", Baseline: &api.Baseline{Sensitivity: k}}))
		}
		if plain.f1() > bestPlain.f1() {
			bestPlain = plain
		}
		if k == 5 {
			atDefault = learned
		}
		t.Logf("%-8s k=%-3v baseline: precision %.3f recall %.3f F1 %.3f false/day %.2f | threshold: precision %.3f recall %.3f F1 %.3f false/day %.2f", set, k,
			learned.precision(), learned.recall(), learned.f1(), learned.falsePerDay(), plain.precision(), plain.recall(), plain.f1(), plain.falsePerDay())
	}
	var patient score
	for i := range all {
		d := api.Detector{Name: "d", Baseline: &api.Baseline{For: api.Duration{Duration: 2 * all[i].step}}}
		patient.add(judged(t, &all[i], d))
	}
	t.Logf("%-8s k=5 for 2 runs: precision %.3f recall %.3f F1 %.3f false/day %.2f", set, patient.precision(), patient.recall(), patient.f1(), patient.falsePerDay())
	return bestPlain, atDefault
}

// plainThreshold is what a careful person would set by hand after the learning part.
func plainThreshold(s *series, k float64) api.Detector {
	var v []float64
	for i := range s.value {
		if s.row[i] < s.scoreFrom {
			v = append(v, s.value[i])
		}
	}
	mid := median(v)
	for i := range v {
		v[i] = max(v[i]-mid, mid-v[i])
	}
	spread := max(1.4826*median(v), baselineFloor*max(mid, -mid), 1e-9)
	return api.Detector{Name: "d", Threshold: &api.Threshold{Above: ptr(mid + k*spread), Below: ptr(mid - k*spread)}}
}

func judged(t *testing.T, s *series, d api.Detector) score {
	w, err := New(s.name, api.ProbeSpec{Type: "sql", Every: api.Duration{Duration: s.step}, Detect: []api.Detector{d}})
	if err != nil {
		t.Fatal(err)
	}
	var out score
	found := make([]bool, len(s.segments))
	var changes []api.Anomaly
	for i := range s.at {
		o := api.Observation{Probe: s.name, At: time.Unix(s.at[i], 0).UTC(), Verdict: api.OK, Value: s.value[i]}
		changes = w.Observe(&o, changes[:0])
		if len(changes) == 0 || changes[0].Cleared || s.row[i] < s.scoreFrom {
			continue
		}
		out.episodes++
		for k, seg := range s.segments {
			if s.row[i] >= seg[0]-3 && s.row[i] <= seg[1]+3 {
				out.trueEpisodes++
				found[k] = true
				break
			}
		}
	}
	for k, seg := range s.segments {
		if seg[0] >= s.scoreFrom {
			out.segments++
			if found[k] {
				out.found++
			}
		}
	}
	if n := len(s.at); n > 0 {
		first, _ := slices.BinarySearch(s.row, s.scoreFrom)
		out.days = float64(s.at[n-1]-s.at[min(first, n-1)]) / 86400
	}
	return out
}

func load(t *testing.T, dir string) []series {
	raw, err := os.ReadFile(filepath.Join(dir, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var labels map[string]struct {
		ScoreFrom int      `json:"score_from"`
		StepS     int      `json:"step_s"`
		Segments  [][2]int `json:"segments"`
	}
	if err := json.Unmarshal(raw, &labels); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "data", "*.csv.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no series in %s: %v", dir, err)
	}
	var all []series
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".csv.gz")
		l, ok := labels[name]
		if !ok {
			t.Fatalf("%s has no labels", name)
		}
		s := series{name: name, step: time.Duration(l.StepS) * time.Second, scoreFrom: l.ScoreFrom, segments: l.Segments}
		s.read(t, file)
		all = append(all, s)
	}
	return all
}

func (s *series) read(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	lines := bufio.NewScanner(z)
	for row := -1; lines.Scan(); row++ {
		at, value, _ := strings.Cut(lines.Text(), ",")
		if row < 0 || value == "" {
			continue
		}
		sec, err := strconv.ParseFloat(at, 64)
		v, verr := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || verr != nil {
			t.Fatalf("%s row %d: %q", file, row, lines.Text())
		}
		s.at, s.value, s.row = append(s.at, int64(sec)), append(s.value, v), append(s.row, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
