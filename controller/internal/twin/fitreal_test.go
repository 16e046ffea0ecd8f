package twin

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/eventlog"
)

// realLogPath finds one of the real logs beside the repository. They are other people's and no part of it, so their absence is said and
// never an error.
func realLogPath(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(filepath.Dir(dir), "shared", "data", "eventlogs", name+".csv.gz")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("NOT TESTED on the real event log %s: %v", name, err)
	}
	return path
}

func realLog(t testing.TB, name string) *eventlog.Log {
	t.Helper()
	file, err := os.Open(realLogPath(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	l, _, err := eventlog.Read(file, eventlog.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func fitted(t testing.TB, l *eventlog.Log) *LogFit {
	t.Helper()
	fit, err := FitLog(l, FitSource{Name: "fitted", From: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	return fit
}

// TestFidelity fits to one part of real logs and holds the twin against the other part. Of that it is told when it begins and how many cases
// it has, as in the published comparisons. The figures are medians over replications and then over seeds; no seed is chosen.
func TestFidelity(t *testing.T) {
	const never = 1e9
	for _, tt := range []struct {
		name string
		days int
		goal eventlog.Distances
	}{
		{"agentsim_LoanApp", 101, eventlog.Distances{NGram: 0.08, Absolute: 3.0, Circadian: 0.22, Relative: 1.4, CycleTime: 1.6, Arrival: never}},
		{"bpic2012_W", 3, eventlog.Distances{NGram: 0.18, Absolute: never, Circadian: never, Relative: 55, CycleTime: 73, Arrival: never}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			train, test := realLog(t, tt.name+"_train"), realLog(t, tt.name+"_test")
			fit := fitted(t, train)
			var medians []eventlog.Distances
			for seed := uint64(1); seed <= 5; seed++ {
				d, err := Against(fit.Model, train, test, FidelityOptions{Days: tt.days, Seed: seed})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d: %+v", seed, d.Twin)
				medians = append(medians, d.Twin)
			}
			floor, err := eventlog.Floor(train, test, 20, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := quantileOf(medians, 0.5)
			t.Logf("median %+v", got)
			t.Logf("floor  %+v", floor)
			t.Logf("goal   %+v", tt.goal)
			for _, d := range []struct {
				what      string
				got, goal float64
			}{
				{"order of activities", got.NGram, tt.goal.NGram}, {"time line", got.Absolute, tt.goal.Absolute},
				{"hours of the day", got.Circadian, tt.goal.Circadian}, {"time since arrival", got.Relative, tt.goal.Relative},
				{"cycle times", got.CycleTime, tt.goal.CycleTime}, {"arrivals", got.Arrival, tt.goal.Arrival},
			} {
				if !(d.got <= d.goal) {
					t.Errorf("%s: %.4f, more than %.4f", d.what, d.got, d.goal)
				}
			}
		})
	}
}

// TestDelaysOfRealLogs: in these logs each wait is a queue's or a night's, as the column extraneous_delay, which the fit does not see, says:
// nothing may be taken for a delay that no worker explains. TestDelaysAreFound is its counterpart.
func TestDelaysOfRealLogs(t *testing.T) {
	for _, name := range []string{"synthetic_p2p", "synthetic_insurance_claims", "synthetic_loan_application"} {
		t.Run(name, func(t *testing.T) {
			truth := trueDelays(t, realLogPath(t, name))
			var wait, delay, want float64 // hours
			for _, s := range fitted(t, realLog(t, name)).Steps {
				mean := truth[s.Label] / float64(s.Samples)
				if off := s.Delay.Seconds() - mean; off > 0.15*mean+1 || off < -0.15*mean-1 {
					t.Errorf("%s: a delay of %s was found, in truth it is %.0f s", s.Label, s.Delay, mean)
				}
				wait += s.Waits.Hours() * float64(s.Samples)
				delay += s.Delay.Hours() * float64(s.Samples)
				want += truth[s.Label] / 3600
			}
			t.Logf("of %.0f hours of waiting %.1f are taken for delays; in truth %.1f", wait, delay, want)
		})
	}
}

// trueDelays sums the column extraneous_delay by activity, in seconds.
func trueDelays(t *testing.T, path string) map[string]float64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	activity, delay := -1, -1
	for i, name := range rows[0] {
		switch name {
		case "activity":
			activity = i
		case "extraneous_delay":
			delay = i
		}
	}
	if activity < 0 || delay < 0 {
		t.Fatalf("the columns of %s are %v", path, rows[0])
	}
	sum := map[string]float64{}
	for _, r := range rows[1:] {
		d, err := strconv.ParseFloat(r[delay], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum[r[activity]] += d
	}
	return sum
}

// wholeLog lets a model work for some weeks longer than a log took, and gives all that was done, from the first case on: a log that left out
// what else people had to do would make delays of it.
func wholeLog(t *testing.T, m api.Model, l *eventlog.Log) *eventlog.Log {
	t.Helper()
	r, err := newReplayer(m, ReplayOptions{Begin: time.UnixMicro(l.Cases[0].Start()).UTC(), Cases: len(l.Cases), Seed: 1, Past: l})
	if err != nil {
		t.Fatal(err)
	}
	r.play += min(30*24*hour, max(4*r.warm, 5*24*hour))
	if err := r.compile(); err != nil {
		t.Fatal(err)
	}
	b := newBookkeeper(r.plan, &m.Spec)
	if run := r.plan.Run(api.VariantNone, 0, Options{Record: func(w Work) {
		w.Born += r.plan.from
		b.record(w)
	}}); run.Cut != "" {
		t.Fatal(run.Cut)
	}
	b.close(math.MaxInt)
	return &b.log
}

// TestDelaysAreFound puts delays of a known length into models of real logs, lets the models work, fits anew to the logs that come of it, and
// asks for each delay back, to within 15 %, and for nothing where there was none.
func TestDelaysAreFound(t *testing.T) {
	for _, name := range []string{"synthetic_p2p", "synthetic_insurance_claims", "synthetic_loan_application", "agentsim_LoanApp_train"} {
		t.Run(name, func(t *testing.T) {
			l := realLog(t, name)
			m := fitted(t, l).Model
			m.Spec.Arrivals.PerHour *= 0.6 // two of the houses have more to do than they can: there delays hide in queues that only grow
			for i := range m.Spec.Arrivals.Hours {
				m.Spec.Arrivals.Hours[i] *= 0.6
			}
			want := map[string]time.Duration{}
			for i := range m.Spec.Steps {
				s := &m.Spec.Steps[i]
				if i%3 == 1 { // every third step waits for somebody outside
					mean := []time.Duration{2 * time.Hour, 5 * time.Hour, 30 * time.Minute}[i/3%3]
					s.Delay, s.DelayPauses = &api.Times{Mean: api.Duration{Duration: mean}}, true
					want[s.Name] = mean
				}
			}
			for _, s := range fitted(t, wholeLog(t, m, l)).Steps {
				mean := want[s.Name]
				if s.Samples < 200 || len(m.Spec.Begin) > 0 && m.Spec.Begin[0].To == s.Name {
					continue // too few to say, or the first of a case, of which nobody knows when it could have begun
				}
				off := (s.Delay - mean).Seconds()
				t.Logf("%-50s delay %10s found %10s", s.Name, mean, s.Delay.Round(time.Second))
				if most := max(0.15*mean.Seconds(), 30); off > most || off < -most {
					t.Errorf("%s: a delay of %s was found, in truth it is %s", s.Name, s.Delay, mean)
				}
			}
		})
	}
}
