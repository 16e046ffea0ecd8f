package eventlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// EventsMax is the cap on the rows of a log that are kept, unless Options say otherwise: about 0.6 GB while reading and 150 MB afterwards.
const EventsMax = 5_000_000

// Options say how to read a log. The zero value reads what most tools write.
type Options struct {
	Name       string         // of the file, for errors; "log" when empty
	Columns    Columns        // of CSV: the columns to use instead of those found by their names
	Comma      byte           // of CSV: the delimiter; 0 finds it in the header: a comma, a semicolon or a tab
	TimeLayout string         // of the time package, for times that begin with the day or the month
	Zone       *time.Location // of times that name no zone; nil is UTC
	EventsMax  int            // refuse a log with more rows than this; 0 is EventsMax
}

// reader is one reading of one file.
type reader struct {
	builder
	name  string
	times clock
	opts  Options
	in    *bufio.Reader
	line  int // where reading is, counted from 1
	out   Report
}

// Read reads a whole log, CSV or XES, plain or compressed by gzip, which it tells by the first bytes. An error names file and line and what to do;
// with it comes the Report so far.
func Read(in io.Reader, opts Options) (*Log, Report, error) {
	if opts.Name == "" {
		opts.Name = "log"
	}
	if opts.EventsMax == 0 {
		opts.EventsMax = EventsMax
	}
	opts.EventsMax = min(opts.EventsMax, math.MaxInt32) // rows are numbered in 32 bits
	if opts.Zone == nil {
		opts.Zone = time.UTC
	}
	r := &reader{name: opts.Name, opts: opts, times: clock{opts.TimeLayout, opts.Zone}, line: 1}
	r.builder.report, r.builder.eventsMax = &r.out, opts.EventsMax
	if err := r.read(in); err != nil {
		return nil, r.out, err
	}
	l := r.log()
	if len(l.Cases) == 0 {
		return nil, r.out, fmt.Errorf("%s: none of its %d rows could be used%s", r.name, r.out.Rows, r.whySkipped())
	}
	return l, r.out, nil
}

func (r *reader) whySkipped() string {
	if len(r.out.Skipped) == 0 {
		return ": give a log with at least one event"
	}
	s := r.out.Skipped[0]
	return fmt.Sprintf(": line %d: %s", s.Lines[0], s.Reason)
}

func (r *reader) read(in io.Reader) error {
	r.in = bufio.NewReaderSize(in, 1<<16)
	if magic, _ := r.in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r.in)
		if err != nil {
			return r.broken(err)
		}
		r.in = bufio.NewReaderSize(z, 1<<16)
	}
	start, err := r.in.Peek(3)
	switch {
	case bytes.HasPrefix(start, []byte{0xef, 0xbb, 0xbf}):
		if _, err := r.in.Discard(3); err != nil {
			return r.broken(err)
		}
	case bytes.HasPrefix(start, []byte{0xff, 0xfe}), bytes.HasPrefix(start, []byte{0xfe, 0xff}):
		return r.fail("this is UTF-16: convert it first, for example with iconv -f UTF-16 -t UTF-8")
	case len(start) == 0 && err == io.EOF:
		return r.fail("the file is empty: give a log as CSV or XES, plain or compressed by gzip")
	}
	for {
		b, err := r.in.ReadByte()
		if err == io.EOF {
			return r.fail("the file holds nothing but spaces: give a log as CSV or XES, plain or compressed by gzip")
		}
		if err != nil {
			return r.broken(err)
		}
		switch b {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		default:
			if err := r.in.UnreadByte(); err != nil {
				return r.broken(err)
			}
			if b == '<' {
				return r.readXES()
			}
			return r.readCSV()
		}
	}
}

// fail is an error at the line where reading is.
func (r *reader) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", r.name, r.line, fmt.Errorf(format, args...))
}

// broken is what a failing reader means at the line where reading is.
func (r *reader) broken(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.fail("the file ends too early: fetch it again: %w", io.ErrUnexpectedEOF)
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return r.fail("the compressed data are damaged: fetch the file again: %w", err)
	}
	return r.fail("reading: %w", err)
}

func (r *reader) tooMany() error {
	return r.fail("the log has more than %d events, the cap: cut it to a shorter period", r.eventsMax)
}
