package twin

// event is one thing that will happen. Events of one time come in the order of their priority, then as they were scheduled.
type event struct {
	at    int64  // nanoseconds since the start
	order uint64 // priority in the upper 8 bits, sequence below
	kind  kind
	end   int16 // endpoint of a call
	a     int32 // what it is about: an item, a probe, a fault ...
	b     int32
	gen   uint32 // of the item: an event for an earlier life of it is void
}

// kind is what an event is. Its number is also its priority, so that at one instant faults come before work, and work before eyes.
type kind uint8

const (
	evFault    kind = iota // a: fault; b: 1 begins, 0 ends
	evArrive               // the next item
	evReady                // a: item: its pause or delay is over
	evEffect               // a: item, b: step and call: the effect of a call whose answer does not tell of it
	evAnswer               // a: item, b: how, and step and call
	evWorked               // a: item
	evCallback             // a: item
	evGhost                // a: item, b: step: work on it that a second delivery caused
	evOpen                 // a: pool: its hours change
	evLook                 // a: probe
	evSaw                  // a: probe: what it saw is known
	evDeed                 // a: deed: a command's result is known
	evPerson               // a: answer
	evWake                 // the engine, or a naive program, wants the time
	evCount                // what counts begins
	evEnd
)

// heap is a binary heap of values: no allocation per event, and no interface between comparison and data.
type heap struct {
	list []event
	seq  uint64
}

func (h *heap) push(at int64, k kind, a, b int32, gen uint32) {
	h.add(event{at: at, kind: k, a: a, b: b, gen: gen})
}

// add puts an event into its place; of its order only the kind is asked for.
func (h *heap) add(e event) {
	h.seq++
	e.order = uint64(e.kind)<<56 | h.seq
	h.list = append(h.list, e)
	i := len(h.list) - 1
	for i > 0 {
		up := (i - 1) / 2
		p := &h.list[up]
		if p.at < e.at || p.at == e.at && p.order < e.order {
			break
		}
		h.list[i] = *p
		i = up
	}
	h.list[i] = e
}

func (h *heap) pop() event {
	top := h.list[0]
	n := len(h.list) - 1
	e := h.list[n]
	h.list = h.list[:n]
	if n == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		c := &h.list[child]
		if child+1 < n {
			if r := &h.list[child+1]; r.at < c.at || r.at == c.at && r.order < c.order {
				child, c = child+1, r
			}
		}
		if e.at < c.at || e.at == c.at && e.order < c.order {
			break
		}
		h.list[i] = *c
		i = child
	}
	h.list[i] = e
	return top
}

// kindNames are for traces.
var kindNames = [...]string{"fault", "arrive", "ready", "effect", "answer", "worked", "callback", "ghost", "open", "look", "saw", "deed", "person", "wake", "count", "end"}
