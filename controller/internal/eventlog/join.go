package eventlog

import (
	"cmp"
	"slices"
)

// Join makes one log of several. Activities and resources of the same name are the same; cases are not, even if they have the same ID.
func Join(logs ...*Log) *Log {
	if len(logs) == 1 {
		return logs[0]
	}
	out := &Log{}
	activities, resources := names{}, names{}
	for _, l := range logs {
		for _, c := range l.Cases {
			events := slices.Clone(c.Events)
			for i := range events {
				e := &events[i]
				e.Activity = activities.number([]byte(l.Activities[e.Activity]))
				if e.Resource != None {
					e.Resource = resources.number([]byte(l.Resources[e.Resource]))
				}
			}
			out.Cases = append(out.Cases, Case{ID: c.ID, Events: events})
		}
	}
	out.Activities, out.Resources = activities.list, resources.list
	slices.SortStableFunc(out.Cases, func(x, y Case) int { return cmp.Compare(x.Start(), y.Start()) })
	return out
}

// Split parts a log by arrival: the given share of its cases, which came first, and the rest. Each part has at least one case where the log
// has two.
func (l *Log) Split(share float64) (earlier, later *Log) {
	n := int(share * float64(len(l.Cases)))
	n = max(min(n, len(l.Cases)-1), min(1, len(l.Cases)))
	part := func(cases []Case) *Log {
		return &Log{Cases: cases, Activities: l.Activities, Resources: l.Resources}
	}
	return part(l.Cases[:n:n]), part(l.Cases[n:])
}
