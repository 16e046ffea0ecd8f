package live

// due is a planned start.
type due struct {
	at    int64 // nanoseconds after the scheduler's base
	p     *probe
	extra bool // a repeat beside the regular plan
}

// dues is a binary heap of planned starts, the earliest first. It is written out because it is the one structure that every
// run of every probe passes through; container/heap would box each element.
type dues []due

func (h *dues) push(d due) {
	*h = append(*h, d)
	q := *h
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if q[parent].at <= d.at {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = d
}

// pop removes the earliest start.
func (h *dues) pop() {
	q := *h
	n := len(q) - 1
	moved := q[n]
	q[n] = due{}
	*h = q[:n]
	if n > 0 {
		h.replace(moved)
	}
}

// replace puts d in the place of the earliest start.
func (h *dues) replace(d due) {
	q := *h
	i := 0
	for {
		child := 2*i + 1
		if child >= len(q) {
			break
		}
		if right := child + 1; right < len(q) && q[right].at < q[child].at {
			child = right
		}
		if d.at <= q[child].at {
			break
		}
		q[i] = q[child]
		i = child
	}
	q[i] = d
}
