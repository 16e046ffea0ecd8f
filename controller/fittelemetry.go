package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

// TelemetryFit says what a model is to be fitted to.
type TelemetryFit struct {
	Data     string    // data folder of a controller, which may be running; only read
	Config   string    // folder or file of the configuration; empty: the last one that the data folder keeps
	Workflow string    // which one the model is of, where there are several
	Arrivals string    // the probe that counts arrivals; empty: the one that can be it
	Since    time.Time // earlier roll-ups are left out; zero: none
}

// TelemetryModel is what came of it.
type TelemetryModel struct {
	YAML    []byte   // the model, with comments
	Guesses []string // figures that rest on fewer than 30 samples
	Window  []string // first and last time, RFC 3339
}

// FitTelemetry makes a model of what a controller's probes have recorded.
func FitTelemetry(ctx context.Context, o TelemetryFit) (*TelemetryModel, error) {
	r, err := store.OpenReader(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := twin.Telemetry{Workflow: o.Workflow, Arrivals: o.Arrivals, From: "roll-ups of " + o.Data}
	if t.Config, err = fitConfig(ctx, o, r); err != nil {
		return nil, err
	}
	if t.Watched, err = recordedProbes(ctx, o, r, t.Config); err != nil {
		return nil, err
	}
	fit, err := twin.FitTelemetry(t)
	if err != nil {
		return nil, err
	}
	return &TelemetryModel{YAML: fit.YAML(), Guesses: fit.Model.Spec.Fitted.Guesses, Window: fit.Model.Spec.Fitted.Window}, nil
}

// How long the store keeps roll-ups by the minute, and by the hour.
const (
	fitMinutes = 48 * time.Hour
	fitHours   = 90 * 24 * time.Hour
)

// recordedProbes reads the roll-ups of all probes, and when anomalies of them were open.
func recordedProbes(ctx context.Context, o TelemetryFit, r *store.Reader, cfg *engine.Config) ([]twin.Watched, error) {
	rollups, err := store.OpenRollups(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer rollups.Close()
	ill, err := illTimes(ctx, r)
	if err != nil {
		return nil, err
	}
	var out []twin.Watched
	end := rollups.Newest()
	begin := end.Add(-fitHours)
	if o.Since.After(begin) {
		begin = o.Since
	}
	minutes := end.Add(-time.Minute).Truncate(time.Hour).Add(-fitMinutes)
	for i := range cfg.Probes {
		w := twin.Watched{Probe: cfg.Probes[i].Metadata.Name, Ill: ill[cfg.Probes[i].Metadata.Name]}
		rows, err := rollups.Rollups(ctx, w.Probe, begin, end)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			span := time.Minute
			if row.Minute.Before(minutes) {
				span = time.Hour
			}
			w.Readings = append(w.Readings, twin.Reading{At: row.Minute, Span: span, Runs: int(row.Runs), Bad: int(row.Bad), Unknown: int(row.Unknown), Last: row.Last,
				TookSum: row.TookSum, TookMax: row.TookMax})
		}
		out = append(out, w)
	}
	return out, nil
}

// fitConfig is the configuration that the probes belong to.
func fitConfig(ctx context.Context, o TelemetryFit, r *store.Reader) (*engine.Config, error) {
	if o.Config != "" {
		cfg, _, findings, err := newLoader(playbooks.Env{}).load(o.Config)
		if err != nil {
			return nil, err
		}
		if findings.Failed() {
			return nil, &api.Error{Code: api.CodeInvalid, Message: "the configuration has errors:\n" + findings.Error(), Hint: "backstay check " + o.Config}
		}
		return &cfg.Engine, nil
	}
	entries, err := r.Entries(ctx, store.Query{Kinds: []api.EntryKind{api.EntryConfigured}, Newest: true, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		k := newKept(o.Data, entries)
		if cfg := k.config(entries[0].Digest); cfg != nil || k.err != nil {
			return cfg, k.err
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "the data folder " + o.Data + " does not keep the configuration that its log names last", Hint: "name it with --config"}
}

// illTimes are the times during which an anomaly of a probe was open, from its first bad run on.
func illTimes(ctx context.Context, r *store.Reader) (map[string][][2]time.Time, error) {
	const page = 10_000
	forever := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	ill, open := map[string][][2]time.Time{}, map[string]int{}
	for from := int64(0); ; {
		entries, err := r.Entries(ctx, store.Query{From: from, Kinds: []api.EntryKind{api.EntryAnomalyOpened, api.EntryAnomalyCleared}, Limit: page})
		if err != nil {
			return nil, fmt.Errorf("read when anomalies were open: %w", err)
		}
		for i := range entries {
			a := entries[i].Anomaly
			if a == nil {
				continue
			}
			at, known := open[a.ID()]
			switch {
			case entries[i].Kind == api.EntryAnomalyCleared && known:
				ill[a.Probe][at][1] = entries[i].At
				delete(open, a.ID())
			case entries[i].Kind == api.EntryAnomalyOpened && !known:
				begin := entries[i].At
				if !a.Since.IsZero() && a.Since.Before(begin) {
					begin = a.Since
				}
				open[a.ID()] = len(ill[a.Probe])
				ill[a.Probe] = append(ill[a.Probe], [2]time.Time{begin, forever})
			}
		}
		if len(entries) < page {
			return ill, nil
		}
		from = entries[len(entries)-1].Seq + 1
	}
}
