package eventlog

// Log is work that was done, by case. Cases come in order of their arrival (the start of their first event), equal ones in the order of
// the file. Activities and Resources are the names, in the order in which the file first uses them.
type Log struct {
	Cases      []Case
	Activities []string
	Resources  []string
}

// Case is one piece of work: an order, a claim, an application. It has at least one event. Two traces of an XES file may have the same ID.
type Case struct {
	ID     string
	Events []Event // by Start, then by End, then in the order of the file
}

// Event is one activity carried out for one case. What happened at one instant starts and ends then.
type Event struct {
	Activity int32 // index into Log.Activities
	Resource int32 // index into Log.Resources; None where the log names nobody
	Start    int64 // microseconds since 1970-01-01 UTC
	End      int64 // the same; never before Start
}

// None is the Resource of an event that the log gives to nobody.
const None int32 = -1

// Start is when the case arrived, in microseconds since 1970-01-01 UTC.
func (c Case) Start() int64 { return c.Events[0].Start }

// End is when the last of its events was over, in microseconds since 1970-01-01 UTC.
func (c Case) End() int64 {
	end := c.Events[0].End
	for _, e := range c.Events[1:] {
		end = max(end, e.End)
	}
	return end
}

// Events counts the events of all cases.
func (l *Log) Events() int {
	n := 0
	for _, c := range l.Cases {
		n += len(c.Events)
	}
	return n
}

// Report says what became of the rows of a file.
type Report struct {
	Format      string  // csv or xes
	Columns     Columns // of CSV: the column that was used for each role, empty where there is none
	Rows        int     // rows of a CSV file after its header, events of an XES file
	Events      int     // events of the Log
	Paired      int     // rows that tell only the start of an event whose completion is another row
	Disordered  int     // rows earlier than a row of the same case that stands before them; they were sorted
	EmptyTraces int     // traces of an XES file without any event; they make no case
	Skipped     []Skip  // rows that were left out, by reason, in the order in which the reasons arose
}

// Skip counts the rows that were left out for one reason.
type Skip struct {
	Reason string
	Count  int
	Lines  []int // of the first five of them
}

const skipLines = 5

func (r *Report) skip(reason string, line int) {
	for i := range r.Skipped {
		s := &r.Skipped[i]
		if s.Reason == reason {
			s.Count++
			if len(s.Lines) < skipLines {
				s.Lines = append(s.Lines, line)
			}
			return
		}
	}
	r.Skipped = append(r.Skipped, Skip{Reason: reason, Count: 1, Lines: []int{line}})
}

// Lost counts the rows that were left out.
func (r *Report) Lost() int {
	n := 0
	for _, s := range r.Skipped {
		n += s.Count
	}
	return n
}
