package live

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// A database that others hold delays an entry by a moment and costs nothing: the block waits, and the next follows it without a gap.
func TestRecorderWaitsAMoment(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	st, err := store.Open(ctx, store.Options{Dir: dir, Origin: "backstay.test/live"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s, err := New(Options{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	r := recorder{s: s}
	next := int64(0)
	tick := func(entries int) {
		r.add(&engine.Event{At: s.clock.now(), Tick: true}, entries, next)
		next += int64(entries)
	}
	tick(1)
	r.keep(true)

	other, err := sql.Open("sqlite", filepath.Join(dir, "telemetry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	do := func(query string) {
		t.Helper()
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), query); err != nil {
			t.Fatal(err)
		}
	}
	do("BEGIN IMMEDIATE")
	begin := time.Now()
	tick(2)
	r.keep(true)
	tick(0)
	tick(3)
	r.keep(true)
	if took := time.Since(begin); took < recordWait || took > time.Second {
		t.Errorf("two turns waited %v for a database that others hold, want %v each", took, recordWait)
	}
	do("COMMIT")
	r.end() // stores what waited, too
	tick(1)
	r.end()

	read, err := store.OpenRollups(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	at, events := int64(0), 0
	err = read.Inputs(ctx, func(b store.InputBlock) {
		if b.First != at {
			t.Errorf("a block begins with entry %d, want %d", b.First, at)
		}
		if err := engine.ReadTape(b.Block, func(in *engine.Input) bool { at, events = at+int64(in.Entries), events+1; return true }); err != nil {
			t.Error(err)
		}
	})
	if err != nil || at != 7 || events != 5 {
		t.Errorf("%d events that led to %d entries were kept, want 5 and 7: %v", events, at, err)
	}
}
