package engine

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/backstay/backstay/api"
)

var update = flag.Bool("update", false, "write what the scripts of testdata gave; regenerate only what you understand")

// TestScripts plays testdata/*.txtar: a configuration, a timeline of events, and what the engine must say and do. The first
// lines of testdata/failover.txtar explain the notation.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ar := txtar.Parse(data)
			p := &player{t: t, files: ar.Files, now: t0, s: New(), names: map[string]string{}}
			defer func() {
				if t.Failed() {
					t.Log(p.out.String())
				}
			}()
			for _, line := range strings.Split(strings.TrimSpace(p.file("events")), "\n") {
				p.play(line)
			}
			p.replay()
			if *update {
				for i := range ar.Files {
					if ar.Files[i].Name == "want" {
						ar.Files[i].Data = p.out.Bytes()
					}
				}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got, want := p.out.String(), p.file("want"); got != want {
				t.Errorf("the engine said otherwise; got\n%s\nfirst difference:\n%s", got, firstDifference(got, want))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d\n got: %s\nwant: %s", i+1, g[i], append(w, "", "")[min(i, len(w))])
		}
	}
	return "want goes on after line " + strconv.Itoa(len(g))
}

// player plays one script.
type player struct {
	t       *testing.T
	files   []txtar.File
	now     time.Time
	s       *State
	cfg     *Config
	wake    time.Time
	journal []api.Entry
	waiting []Command
	last    map[CommandKind]Command
	names   map[string]string // ids -> names that read well
	rems    []string
	out     bytes.Buffer
}

func (p *player) file(name string) string {
	for _, f := range p.files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	p.t.Fatalf("the script has no section %s", name)
	return ""
}

// fields splits a line at blanks; "two words" stay together.
var wordRE = regexp.MustCompile(`[^\s"]*"[^"]*"|\S+`)

// args takes key=value words apart.
type args struct {
	words []string
	keys  map[string]string
}

func parse(line string) args {
	a := args{keys: map[string]string{}}
	for _, w := range wordRE.FindAllString(line, -1) {
		w = strings.ReplaceAll(w, `"`, "")
		if k, v, ok := strings.Cut(w, "="); ok && regexp.MustCompile(`^[a-zA-Z]+$`).MatchString(k) && len(a.words) > 0 {
			a.keys[k] = v
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a args) has(word string) bool { return slices.Contains(a.words, word) }

func (a args) list(key string) []string {
	if a.keys[key] == "" {
		return nil
	}
	return strings.Split(a.keys[key], ",")
}

func (p *player) duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := api.ParseDuration(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return d.Duration
}

func (p *player) number(s string) int64 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *player) money(s string) api.Money {
	if s == "" {
		return nil
	}
	c, n, _ := strings.Cut(s, ":")
	return api.Money{c: p.number(n)}
}

// play plays one line: +TIME VERB ...
func (p *player) play(line string) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return
	}
	when, rest, _ := strings.Cut(line, " ")
	if when == "wake" {
		if p.wake.IsZero() {
			p.t.Fatalf("%q: the engine asked for no wake", line)
		}
		if p.wake.After(p.now) {
			p.now = p.wake
		}
		rest = "tick"
	} else {
		p.now = p.now.Add(p.duration(strings.TrimPrefix(when, "+")))
	}
	fmt.Fprintf(&p.out, "%s %s\n", p.now.Format("15:04:05"), rest)
	a := parse(rest)
	switch verb := a.words[0]; verb {
	case "start", "crash":
		if verb == "crash" {
			p.restore()
		}
		p.waiting = nil
		p.feed(Event{Restarted: true})
		if p.cfg == nil {
			p.cfg = p.config(p.file("config"))
		}
		p.feed(Event{Config: p.cfg})
	case "config":
		p.cfg = p.config(p.file(a.words[1]))
		p.feed(Event{Config: p.cfg})
	case "open", "clear":
		probe, _, _ := strings.Cut(a.words[1], "/")
		p.feed(Event{Anomaly: &api.Anomaly{Name: a.words[1], Probe: probe, Opened: p.now, At: p.now, Cleared: verb == "clear", Text: a.keys["text"]}})
	case "seen":
		p.feed(Event{Seen: a.words[1]})
	case "verdict":
		p.feed(Event{Verdict: &Verdict{a.words[1], api.Verdict(a.words[2])}})
	case "eyes":
		p.feed(Event{Eyes: &Eyes{int(p.number(a.words[1])), int(p.number(a.words[2])), int(p.number(a.words[3]))}})
	case "value":
		p.feed(Event{Value: &Value{a.words[1], float64(p.number(a.words[2]))}})
	case "plan", "run", "look", "undo", "expect", "late":
		p.result(a)
	case "approve", "deny", "cancel", "settled", "void", "ack":
		name, step, found := strings.Cut(a.words[1], "/")
		target := name
		if id := p.id(name); id != "" && verb != "ack" {
			target = id
		}
		if found {
			target += "/" + step
		}
		d := &api.Decision{Verb: api.Verb(verb), By: a.keys["by"], Target: target, Plan: a.keys["plan"]}
		if d.Plan == "shown" {
			d.Plan = p.s.Remediation(p.id(name)).Plan
		}
		p.feed(Event{Decision: d})
	case "pause", "resume":
		pause := &api.Pause{Playbook: a.keys["playbook"], Owner: a.keys["by"], Reason: a.keys["reason"]}
		if d := p.duration(a.keys["for"]); d > 0 {
			pause.Expires = p.now.Add(d)
		}
		if verb == "pause" {
			p.feed(Event{Pause: pause})
		} else {
			p.feed(Event{Resume: pause})
		}
	case "stop":
		p.feed(Event{Stopping: true})
	case "tick":
		p.feed(Event{Tick: true})
	default:
		p.t.Fatalf("%q: unknown verb", line)
	}
}

// id finds the latest remediation of a playbook.
func (p *player) id(playbook string) string {
	for i := len(p.rems) - 1; i >= 0; i-- {
		if r := p.s.rems[p.rems[i]]; r != nil && r.Plan.Name == playbook {
			return p.rems[i]
		}
	}
	return ""
}

// result answers the command of that kind that waits; "late run done" answers the last one once more.
func (p *player) result(a args) {
	kind := CommandKind(a.words[0])
	var c Command
	if kind == "late" {
		c = p.last[CommandKind(a.words[1])]
		a.words = a.words[1:]
	} else {
		i := slices.IndexFunc(p.waiting, func(c Command) bool {
			return c.Kind == kind && (a.keys["of"] == "" || a.keys["of"] == c.Playbook)
		})
		if i < 0 {
			p.t.Fatalf("%v: no command of that kind waits", a.words)
		}
		c = p.waiting[i]
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	res := &Result{Command: c.ID, Outcome: api.Outcome{Result: api.Result(a.words[1]), Text: a.keys["text"], Items: p.number(a.keys["did"]), Amount: p.money(a.keys["worth"])}}
	for _, v := range a.list("values") {
		probe, value, _ := strings.Cut(v, ":")
		res.Outcome.Facts = append(res.Outcome.Facts, api.Fact{Name: api.ValueFact(probe), Value: value})
	}
	if c.Kind == Plan && a.words[1] == "ok" {
		res.Outcome.Result = ""
		res.Estimate = &api.Estimate{Text: a.keys["text"], Items: p.number(a.keys["items"]), Total: p.number(a.keys["total"]), Amount: p.money(a.keys["amount"]), Noop: a.has("noop")}
	}
	p.feed(Event{Result: res})
}

func (p *player) feed(e Event) {
	e.At = p.now
	out := p.s.Step(e)
	p.wake = out.Wake
	for _, e := range out.Entries {
		e.Seq = int64(len(p.journal))
		p.journal = append(p.journal, wire(e))
		p.name(e.Incident, "inc")
		if e.Kind == api.EntryRemediationOpened {
			p.rems = append(p.rems, e.Remediation)
		}
		p.name(e.Remediation, "rem")
		what := e.Incident
		if e.Remediation != "" {
			what = e.Remediation
		} else if e.Playbook != "" {
			what += " " + e.Playbook
		}
		if e.Step != "" {
			what += "/" + e.Step
		}
		if e.Refusal != nil {
			what += " [" + string(e.Refusal.Guard) + "]"
		}
		if e.End != "" {
			what += " [" + string(e.End) + "]"
		}
		fmt.Fprintf(&p.out, "    %-20s %s: %s\n", e.Kind, p.plain(what), p.plain(e.Text))
	}
	for _, c := range out.Commands {
		if c.Kind == Notify {
			fmt.Fprintf(&p.out, "    -> tell %s: %s\n", c.Channel, p.plain(c.Message.Title))
			continue
		}
		p.waiting = append(p.waiting, c)
		if p.last == nil {
			p.last = map[CommandKind]Command{}
		}
		p.last[c.Kind] = c
		more := fmt.Sprintf(" by %s", c.Deadline.Format("15:04:05"))
		if c.Kind == Run || c.Kind == Undo {
			more += fmt.Sprintf(", attempt %d, key %s, fence %d", c.Attempt, p.name(c.Key, "key"), c.Fence)
		}
		if c.Bounds.Items > 0 || len(c.Bounds.Amount) > 0 {
			more += fmt.Sprintf(", at most %d items %s", c.Bounds.Items, c.Bounds.Amount)
		}
		fmt.Fprintf(&p.out, "    -> %s %s/%s%s\n", c.Kind, p.name(c.Remediation, "rem"), c.Step, more)
	}
}

// name gives an id a short name, in order of appearance.
func (p *player) name(id, prefix string) string {
	if id == "" {
		return ""
	}
	if p.names[id] == "" {
		n := 1
		for range p.names { // counted only
			n++
		}
		p.names[id] = fmt.Sprintf("%s%d", prefix, n)
	}
	return p.names[id]
}

var idRE = regexp.MustCompile(`(inc|rem)-[0-9a-f]{8}`)

func (p *player) plain(text string) string {
	return idRE.ReplaceAllStringFunc(text, func(id string) string { return p.name(id, id[:3]) })
}

// restore throws the live state away and makes it anew from a snapshot, as a restart does.
func (p *player) restore() {
	snap, err := p.s.Snapshot()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.s, err = Restore(snap); err != nil {
		p.t.Fatal(err)
	}
}

// replay makes the state anew from the journal alone: it must be the same to the byte.
func (p *player) replay() {
	s := New()
	for _, e := range p.journal {
		if err := s.Apply(e); err != nil {
			p.t.Fatal(err)
		}
	}
	got, err := s.Snapshot()
	want, err2 := p.s.Snapshot()
	if err != nil || err2 != nil || !bytes.Equal(got, want) {
		p.t.Errorf("the journal replayed gives another state (%v, %v):\n%s\n%s", err, err2, got, want)
	}
}
