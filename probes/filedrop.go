package probes

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

var fileDropType = Type{
	Name:    "file-drop",
	Summary: "Watches a folder to which partners deliver files: arrival in time, duplicates, leftovers of broken uploads, files that nobody takes.",
	Params:  func() any { return new(FileDropParams) },
	Build:   buildFileDrop,
}

// FileDropParams are the parameters of a file-drop probe. A file has arrived once its size and time stood still between two
// looks (or its time is a minute old at the first look), so that a half-written file never counts.
type FileDropParams struct {
	Folder     string       `json:"folder" rule:"required" doc:"The folder to look into; folders within it are left alone, and so are symbolic links."`
	Pattern    string       `json:"pattern,omitempty" default:"*" doc:"File names that count, such as ACH_*.txt."`
	Archive    string       `json:"archive,omitempty" doc:"Folder to which files are moved when they are taken: a file there counts as arrived."`
	By         string       `json:"by,omitempty" doc:"Time of day by which a file must have arrived: 16:45."`
	From       string       `json:"from,omitempty" default:"00:00" doc:"With by: files count from this time of day on; one later than by means the evening before."`
	Zone       string       `json:"zone,omitempty" default:"UTC" doc:"IANA time zone of by and from, such as America/New_York."`
	Days       []string     `json:"days,omitempty" doc:"With by: days on which a file is due: mon, tue ...; every day when left out."`
	Every      api.Duration `json:"every,omitempty" doc:"Longest time between two arrivals, instead of by."`
	SizeMin    int64        `json:"sizeMin,omitempty" rule:"min=0" doc:"A smaller file is bad, in bytes; 1 makes empty files bad."`
	AgeMax     api.Duration `json:"ageMax,omitempty" doc:"A file that has waited longer is bad: nobody takes it."`
	Duplicates bool         `json:"duplicates,omitempty" doc:"A file whose content was seen before is bad, under whatever name. Files over 64 MiB are not compared."`
	Temporary  []string     `json:"temporary,omitempty" doc:"Names of uploads that have not ended; *.tmp, *.part and *.filepart when left out. They never count as arrived."`
	StaleAfter api.Duration `json:"staleAfter,omitempty" default:"1h" doc:"A temporary file that stood still for longer is bad."`
	Value      string       `json:"value,omitempty" rule:"oneof=count|oldest|newest" default:"count" doc:"The probe's value: files that wait, or the age of the oldest or newest in seconds."`
}

const (
	staleDefault = time.Hour
	settledAfter = time.Minute // at the first look, an older file counts as whole
)

var temporaryDefault = []string{"*.tmp", "*.part", "*.filepart"}

type fileDropProbe struct {
	with FileDropParams
	due  *deadline // nil without by
	unit string

	busy  chan struct{} // holds a token while a look is going on, also one that hangs in the file system
	state fileState
}

// Check finds patterns and times that can never work, each with its place in the spec.
func (w *FileDropParams) Check(report func(field, rule, message, hint string)) {
	pattern := func(field, pattern string) {
		if _, err := path.Match(pattern, ""); err != nil || strings.ContainsAny(pattern, `/\`) {
			report(field, "bad-pattern", fmt.Sprintf("%q is not a pattern for file names", pattern), "use *, ? and [a-z], and no folder")
		}
	}
	pattern("pattern", w.Pattern)
	for i, text := range w.Temporary {
		pattern(fmt.Sprintf("temporary[%d]", i), text)
	}
	if w.By != "" && w.Every.Duration > 0 {
		report("every", "conflict", "by and every exclude each other", "remove one")
	}
	if w.By == "" && (len(w.Days) > 0 || w.From != "" && w.From != "00:00") {
		report("by", "missing-key", "from and days need by", "add by: with a time of day")
	}
	if w.By != "" {
		if _, err := newDeadline(w); err != nil {
			report("by", "bad-deadline", err.Error(), "write by: 16:45, from: 00:00, zone: Europe/Berlin, days: [mon, tue]")
		}
	}
}

func buildFileDrop(_ string, spec api.ProbeSpec, params any, _ *Env) (Prober, error) {
	p := &fileDropProbe{with: *params.(*FileDropParams), busy: make(chan struct{}, 1)}
	w := &p.with
	if w.Folder == "" {
		return nil, errors.New("folder is missing")
	}
	if w.Pattern == "" {
		w.Pattern = "*"
	}
	if len(w.Temporary) == 0 {
		w.Temporary = temporaryDefault
	}
	if w.StaleAfter.Duration == 0 {
		w.StaleAfter.Duration = staleDefault
	}
	if err := checked(w); err != nil {
		return nil, err
	}
	p.unit = "files"
	if w.Value == "oldest" || w.Value == "newest" {
		p.unit = "seconds"
	}
	p.unit = unitOr(&spec, p.unit)
	if w.By == "" {
		return p, nil
	}
	var err error
	p.due, err = newDeadline(w)
	return p, err
}

// Probe looks into the folder once. A file system that hangs cannot be interrupted, so the look has its own goroutine,
// never more than one.
func (p *fileDropProbe) Probe(ctx context.Context) api.Observation {
	select {
	case p.busy <- struct{}{}:
	default:
		return bad(p.unit, fmt.Sprintf("folder %s: the file system still has not answered the look before", p.with.Folder))
	}
	result := make(chan api.Observation, 1)
	go func() {
		o := p.look(ctx, time.Now())
		<-p.busy
		result <- o
	}()
	select {
	case o := <-result:
		return o
	case <-ctx.Done():
		return failed(ctx, p.unit, "look into "+p.with.Folder, ctx.Err())
	}
}

func (p *fileDropProbe) look(ctx context.Context, now time.Time) api.Observation {
	seen, err := p.state.scan(ctx, &p.with, now)
	if err != nil {
		return failed(ctx, p.unit, "look into "+p.with.Folder, err)
	}
	o := api.Observation{Verdict: api.OK, Unit: p.unit}
	switch p.with.Value {
	case "oldest":
		o.Value = seen.age(seen.oldest, now).Seconds()
	case "newest":
		o.Value = seen.age(seen.newest, now).Seconds()
	default:
		o.Value = float64(seen.count)
	}
	for _, fault := range []string{seen.duplicate, seen.small, p.stale(seen), p.waiting(seen, now)} {
		if fault != "" {
			o.Verdict, o.Reason = api.Bad, sentence(fault)
			return o
		}
	}
	o.Verdict, o.Reason = p.arrival(now)
	return o
}

func (p *fileDropProbe) stale(seen *sight) string {
	if seen.stale == "" {
		return ""
	}
	return fmt.Sprintf("temporary file %q has stood still for %s: the upload broke off", seen.stale, seen.staleAge.Round(time.Second))
}

func (p *fileDropProbe) waiting(seen *sight, now time.Time) string {
	limit := p.with.AgeMax.Duration
	if age := seen.age(seen.oldest, now); limit > 0 && age > limit {
		return fmt.Sprintf("file %q has waited for %s, at most %s is expected", seen.oldestName, age.Round(time.Second), limit)
	}
	return ""
}

// arrival judges whether files come in time. What came and went before watching began is not known, so until a whole
// interval was watched, an empty folder is unknown.
func (p *fileDropProbe) arrival(now time.Time) (api.Verdict, string) {
	last := p.state.arrived
	if every := p.with.Every.Duration; every > 0 {
		switch {
		case !last.IsZero() && now.Sub(last) <= every:
			return api.OK, ""
		case last.IsZero() && now.Sub(p.state.since) <= every:
			return api.Unknown, fmt.Sprintf("no file yet in the %s since watching began", now.Sub(p.state.since).Round(time.Second))
		case last.IsZero():
			return api.Bad, fmt.Sprintf("no file has arrived, one is expected every %s", every)
		}
		return api.Bad, fmt.Sprintf("the last file arrived %s ago, one is expected every %s", now.Sub(last).Round(time.Second), every)
	}
	if p.due == nil {
		return api.OK, ""
	}
	from, by, ok := p.due.last(now)
	switch {
	case !ok || !last.Before(from):
		return api.OK, ""
	case p.state.since.After(from):
		return api.Unknown, fmt.Sprintf("no file is there that was due by %s, but watching began later than %s, so it may have come and gone",
			by.Format("Mon 15:04 MST"), from.Format("Mon 15:04 MST"))
	}
	return api.Bad, fmt.Sprintf("no file has arrived that was due by %s", by.Format("Mon 2006-01-02 15:04 MST"))
}

// deadline is a time of day, on some days of the week, in a zone.
type deadline struct {
	from, by timeOfDay
	zone     *time.Location
	days     [7]bool // by time.Weekday
}

type timeOfDay struct{ hour, minute int }

func parseTimeOfDay(text string) (timeOfDay, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return timeOfDay{}, fmt.Errorf("%q is not a time of day: write 16:45", text)
	}
	return timeOfDay{t.Hour(), t.Minute()}, nil
}

// on gives that time of a day; a time that the day skips, when clocks go forward, is an hour later.
func (t timeOfDay) on(day time.Time) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), t.hour, t.minute, 0, 0, day.Location())
	if at.Hour()*60+at.Minute() < t.hour*60+t.minute {
		at = at.Add(time.Hour)
	}
	return at
}

var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func newDeadline(w *FileDropParams) (*deadline, error) {
	d := &deadline{zone: time.UTC}
	var err error
	if d.by, err = parseTimeOfDay(w.By); err != nil {
		return nil, fmt.Errorf("by: %w", err)
	}
	if w.From != "" {
		if d.from, err = parseTimeOfDay(w.From); err != nil {
			return nil, fmt.Errorf("from: %w", err)
		}
	}
	if w.Zone != "" {
		if d.zone, err = time.LoadLocation(w.Zone); err != nil {
			return nil, fmt.Errorf("zone %q is not known: write one such as America/New_York", w.Zone)
		}
	}
	for _, day := range w.Days {
		known := false
		for i, name := range weekdays {
			if strings.EqualFold(day, name) {
				d.days[i], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("day %q is not known: write sun, mon, tue, wed, thu, fri or sat", day)
		}
	}
	if len(w.Days) == 0 {
		d.days = [7]bool{true, true, true, true, true, true, true}
	}
	return d, nil
}

// last gives the latest window whose deadline has passed and whose successor has not begun; ok is false between windows.
func (d *deadline) last(now time.Time) (from, by time.Time, ok bool) {
	local := now.In(d.zone)
	noon := time.Date(local.Year(), local.Month(), local.Day(), 12, 0, 0, 0, d.zone)
	for back := -1; back <= 7; back++ {
		day := noon.AddDate(0, 0, -back)
		if !d.days[day.Weekday()] {
			continue
		}
		by, from = d.by.on(day), d.from.on(day)
		if !from.Before(by) {
			from = d.from.on(day.AddDate(0, 0, -1))
		}
		switch {
		case now.Before(from):
			continue
		case now.Before(by):
			return from, by, false // still in time
		}
		return from, by, true
	}
	return from, by, false
}
