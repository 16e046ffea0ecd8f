package playbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Headers that replay gives its copies. The count is ours because the broker's own is not to be relied on: x-death is kept,
// renewed or ignored on a republished message depending on the broker's version.
const (
	headerReplays  = "backstay-replays"           // how often the message was replayed
	headerRun      = "backstay-run"               // the run that did it last
	headerExchange = "backstay-first-exchange"    // where it was published first
	headerRouting  = "backstay-first-routing-key" // and with which key: the default exchange replaces it by the queue's name
	headerUser     = "backstay-first-user"        // its user-id, which the broker accepts from that user only
	headerReason   = "backstay-quarantine-reason"
	headerTTL      = "backstay-original-expiration" // its time to live in ms, which dead-lettering removed
)

// letter is one dead letter as delivered.
type letter struct {
	amqp.Delivery
	id       string // the message's, or something that stands for it
	mark     string // this occurrence: message id, hash and replay count
	key      string // its line in the ledger, which is its mark
	was      string // its mark before the step was marked personal, or while it was; "" where there was none
	hash     string // of the payload
	replays  int64
	ours     bool // this run replayed it before, and it came back
	order    string
	ordered  bool // order was found
	amount   api.Money
	badMoney bool // it has no amount that can be read
	reason   string
	called   string    // its name, where the step is marked personal
	died     time.Time // last; zero where the broker did not say
}

// read takes a delivery apart. It never fails: what cannot be read is left empty.
func (p ReplayParams) read(d amqp.Delivery, run string) letter {
	sum := sha256.Sum256(d.Body)
	l := letter{Delivery: d, hash: hex.EncodeToString(sum[:16]), replays: max(0, whole64(d.Headers[headerReplays]))}
	death := lastDeath(d.Headers)
	l.reason, _ = death["reason"].(string)
	l.died, _ = death["time"].(time.Time)
	ourRun, _ := d.Headers[headerRun].(string)
	l.ours = ourRun == run && l.replays > 0
	id := d.MessageId
	if len(id) > 128 {
		sum := sha256.Sum256([]byte(id))
		id = "sha256:" + hex.EncodeToString(sum[:16])
	}
	if id == "" { // told apart as far as its properties go; true twins are interchangeable
		more := sha256.Sum256(fmt.Appendf(nil, "%x\x00%s\x00%s\x00%d\x00%s\x00%v", sum, d.CorrelationId, d.Type, d.Timestamp.Unix(), l.reason, death["routing-keys"]))
		id = "?" + hex.EncodeToString(more[:8])
	}
	l.id = id
	l.mark = id + "|" + l.hash + "|" + strconv.FormatInt(l.replays, 10)
	l.key = l.mark
	if p.OrderBy != "" {
		if source, err := parseSource(p.OrderBy); err == nil {
			l.order, l.ordered = source.of(l, death)
		}
	}
	if p.AmountFrom != "" {
		l.amount, l.badMoney = p.money(d.Body)
	}
	return l
}

// take reads a delivery and gives it the names that the step demands. A message that was under way when the step was marked, or was
// replayed before, is known by what it was called then.
func (w *replaying) take(d amqp.Delivery) letter {
	l := w.p.read(d, w.call.Key)
	if w.names.hash == nil || !w.names.personal && !w.hashed {
		return l
	}
	id := l.id
	if l.named() {
		id = l.MessageId
	}
	hash := w.names.hash(l.hash)
	mark := w.names.hash(id) + "|" + hash + "|" + strconv.FormatInt(l.replays, 10)
	if !w.names.personal {
		l.was = mark
		return l
	}
	l.was, l.mark, l.key, l.hash = l.mark, mark, mark, hash
	l.called = w.names.hash(id)
	if l.ordered {
		l.order = w.names.hash(l.order)
	}
	return l
}

// named tells whether the producer gave the message an id, so that seeing it twice means something.
func (l letter) named() bool { return l.MessageId != "" }

// name is what people call the message.
func (l letter) name() string {
	if l.called != "" {
		return l.called
	}
	if l.MessageId != "" {
		return cut(l.MessageId, 64)
	}
	return "payload " + l.hash
}

// lastDeath is the newest entry of the x-death header.
func lastDeath(headers amqp.Table) amqp.Table {
	deaths, _ := headers["x-death"].([]any)
	if len(deaths) == 0 {
		return nil
	}
	death, _ := deaths[0].(amqp.Table)
	return death
}

func whole64(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int8:
		return int64(n)
	case uint8:
		return int64(n)
	}
	return 0
}

// source says where in a message a value stands.
type source struct{ header, path string }

func parseSource(text string) (source, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch {
	case text == "routing-key":
		return source{}, nil
	case kind == "header" && rest != "":
		return source{header: rest}, nil
	case kind == "body" && rest != "":
		return source{path: rest}, nil
	}
	return source{}, fmt.Errorf("%q is no place in a message: write header:NAME, body:PATH or routing-key", text)
}

// of finds the value; false where the message has none.
func (s source) of(l letter, death amqp.Table) (string, bool) {
	switch {
	case s.header != "":
		v, ok := l.Headers[s.header]
		return fmt.Sprint(v), ok && v != nil
	case s.path != "":
		return bodyText(l.Body, s.path)
	}
	if first, ok := l.Headers[headerRouting].(string); ok {
		return first, true
	}
	keys, _ := death["routing-keys"].([]any)
	if len(keys) > 0 {
		return fmt.Sprint(keys[0]), true
	}
	return l.RoutingKey, true
}

// bodyText is a scalar of a JSON body as text.
func bodyText(body []byte, path string) (string, bool) {
	tree, err := decodeJSON(body)
	if err != nil {
		return "", false
	}
	v, err := pick(tree, path)
	if err != nil {
		return "", false
	}
	return scalar(v)
}

// money reads the amount of a message; bad where it has none in whole minor units.
func (p ReplayParams) money(body []byte) (amount api.Money, bad bool) {
	text, ok := bodyText(body, p.AmountFrom)
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || n < 0 {
		return nil, true
	}
	currency := p.Currency
	if path, found := strings.CutPrefix(currency, "body:"); found {
		if currency, ok = bodyText(body, path); !ok || currency == "" {
			return nil, true
		}
	}
	return api.Money{currency: n}, false
}

// poison says why a message must not be replayed; "" where it may.
func (p ReplayParams) poison(l letter) string {
	switch {
	case l.replays >= int64(p.Attempts):
		return fmt.Sprintf("came back after %d replay(s)", l.replays)
	case p.JSON && !json.Valid(l.Body):
		return "body is not JSON"
	case l.badMoney:
		return "no amount at " + p.AmountFrom
	}
	return ""
}

// wanted tells whether a message passes the filters.
func (p ReplayParams) wanted(l letter, now time.Time) bool {
	if len(p.Reasons) > 0 {
		found := false
		for _, reason := range p.Reasons {
			found = found || reason == l.reason
		}
		if !found {
			return false
		}
	}
	if p.OlderThan.Duration > 0 && (l.died.IsZero() || now.Sub(l.died) < p.OlderThan.Duration) {
		return false
	}
	if p.YoungerThan.Duration > 0 && (l.died.IsZero() || now.Sub(l.died) > p.YoungerThan.Duration) {
		return false
	}
	return true
}

// copy is the message as it is published again: the same body, properties and headers, except those that would act on
// the broker or on a consumer's own retry count. A copy for quarantine keeps its x-death history and says why it is there.
func (l letter) copy(run, quarantine string) amqp.Publishing {
	h := amqp.Table{}
	for name, value := range l.Headers { // order does not matter: a table is a map
		switch {
		case name == "CC" || name == "BCC": // the broker would send copies to other queues
		case quarantine == "" && (deathHeader(name) || name == headerReason):
		default:
			h[name] = value
		}
	}
	death := lastDeath(l.Headers)
	if _, have := h[headerRouting]; !have && death != nil {
		h[headerExchange] = fmt.Sprint(death["exchange"])
		if keys, _ := death["routing-keys"].([]any); len(keys) > 0 {
			h[headerRouting] = fmt.Sprint(keys[0])
		}
	}
	if ttl, ok := death["original-expiration"]; ok {
		h[headerTTL] = fmt.Sprint(ttl)
	}
	if l.UserId != "" {
		h[headerUser] = l.UserId
	}
	h[headerRun] = run
	if quarantine == "" {
		h[headerReplays] = l.replays + 1
	} else {
		h[headerReason] = quarantine
	}
	return amqp.Publishing{
		Headers: h, ContentType: l.ContentType, ContentEncoding: l.ContentEncoding, DeliveryMode: amqp.Persistent, Priority: l.Priority,
		CorrelationId: l.CorrelationId, ReplyTo: l.ReplyTo, MessageId: l.MessageId, Timestamp: l.Timestamp, Type: l.Type, AppId: l.AppId, Body: l.Body,
	}
}

// deathHeader tells whether a header is part of the broker's own death record.
func deathHeader(name string) bool {
	switch name {
	case "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
		"x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-delivery-count":
		return true
	}
	return false
}
