package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is a mistake that somebody could make in a shipped playbook, and that its scenarios must notice. Each one changes what the
// playbook does to money, to work or to people; a change without a difference would be no test of the scenarios.
type mutant struct {
	pack, playbook string
	mistake        string
	edits          []edit
}

// edit replaces a text that stands once in the playbook.
type edit struct{ old, new string }

// mutantDays is how many days of each scenario a mutant is played; the first complaint ends it.
const mutantDays = 3

// caughtLeast is the share of mutants that the scenarios must catch, in percent.
const caughtLeast = 95

// TestScenariosCatchMutants breaks the shipped playbooks one by one. A mutant is caught where check or a scenario of its pack complains;
// that the packs as they are pass is the control.
func TestScenariosCatchMutants(t *testing.T) {
	if len(mutants) < 30 {
		t.Fatalf("there are %d mutants; 30 or more are promised", len(mutants))
	}
	for _, name := range packs(t) {
		if by := firstComplaint(t, filepath.Join(libraryFolder, name)); by != "" {
			t.Fatalf("the pack %s as it is does not pass, so its mutants prove nothing: %s", name, by)
		}
	}
	mutants := mutants
	if testing.Short() { // a sample: what the race detector looks for, all of them show
		mutants = mutants[:len(mutants)/6]
	}
	by := make([]string, len(mutants))
	t.Run("mutants", func(t *testing.T) {
		for i := range mutants {
			t.Run(mutants[i].playbook+": "+mutants[i].mistake, func(t *testing.T) {
				t.Parallel()
				by[i] = firstComplaint(t, mutants[i].write(t))
			})
		}
	})
	caught := 0
	var table []string
	for i, m := range mutants {
		if by[i] == "" {
			by[i] = "SURVIVED"
			t.Logf("survivor: %s, %s: %s", m.pack, m.playbook, m.mistake)
		} else {
			caught++
		}
		table = append(table, fmt.Sprintf("%-9s %-24s %-58s %.110s", m.pack, m.playbook, m.mistake, by[i]))
	}
	t.Logf("%d of %d mutants were caught:\n%s", caught, len(mutants), strings.Join(table, "\n"))
	if caught*100 < len(mutants)*caughtLeast {
		t.Errorf("only %d of %d mutants were caught; %d %% are promised", caught, len(mutants), caughtLeast)
	}
}

// firstComplaint gives the first thing that check or a scenario finds wrong with a pack; empty where nothing is.
func firstComplaint(t *testing.T, folder string) string {
	t.Helper()
	p, complaints, err := readPack(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(complaints) > 0 {
		return complaints[0]
	}
	for i := range p.set.Scenarios {
		sc := &p.set.Scenarios[i]
		if wrong := p.days(sc, mutantDays); len(wrong) > 0 {
			return sc.Metadata.Name + ": " + wrong[0]
		}
	}
	return ""
}

// write copies the pack with the mistake in it.
func (m *mutant) write(t *testing.T) string {
	t.Helper()
	from, to := filepath.Join(libraryFolder, m.pack), t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to, "playbooks.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	begin := strings.Index(text, "metadata: {name: "+m.playbook+"}")
	if begin < 0 {
		t.Fatalf("pack %s has no playbook %s", m.pack, m.playbook)
	}
	end := len(text)
	if n := strings.Index(text[begin:], "\n---\n"); n >= 0 {
		end = begin + n
	}
	body := text[begin:end]
	for _, e := range m.edits {
		if n := strings.Count(body, e.old); n != 1 {
			t.Fatalf("%s, %s: %q stands %d times in the playbook, not once", m.playbook, m.mistake, e.old, n)
		}
		body = strings.Replace(body, e.old, e.new, 1)
	}
	if err := os.WriteFile(file, []byte(text[:begin]+body+text[end:]), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// The steps and conditions that several mutants lose.
const (
	payWhen    = "    when: '!(\"card-gateway-auth/down\" in incident.anomalies)'"
	claimsWhen = "    when: '!(\"eligibility-answers/down\" in incident.anomalies)'\n"
	achWell    = "    - {name: well, do: expect, with: {probe: ach-bank-answers, ok: 6, within: 10m}}\n"
	achAll     = "    - {name: acknowledged, do: expect, with: {probe: ach-unacknowledged, ok: 2, equals: 0, within: 10m}}\n"
)

var mutants = []mutant{
	{"payments", "card-gateway-failover", "sends new captures to the gateway that is ill", []edit{{"integration: card-gateway, to: standby}", "integration: card-gateway, to: primary}"}}},
	{"payments", "card-gateway-failover", "does not ask what became of what is in doubt", []edit{{"- name: settle # D3: it may repeat nothing, but it decides what counts as paid\n      do: resolve\n      timeout: 2m", "- name: settle\n      do: resolve\n      when: items > 1000000\n      timeout: 2m"}}},
	{"payments", "card-gateway-failover", "does not look whether the other gateway is well", []edit{{"    - {name: standby, do: expect, with: {probe: card-gateway-standby-auth, ok: 2, within: 30s}}\n", ""}}},
	{"payments", "card-gateway-failover", "takes a gateway's first no for a no, at once", []edit{{"with: {for: 45s}", "with: {for: 1ms}"}, {"delay: 30s}", "delay: 0s}"}}},
	{"payments", "card-gateway-failover", "waits for nothing to land", []edit{{"with: {for: 45s}", "with: {for: 1s}"}}},
	{"payments", "card-gateway-failover", "believes one probe alone", []edit{{"    confirm: {atLeast: 2, of: [card-gateway-auth/down, captures-in-doubt/rising, captures-waiting/piling]}\n", ""}}},
	{"payments", "card-gateway-failover", "counts one signal as enough", []edit{{"confirm: {atLeast: 2,", "confirm: {atLeast: 1,"}}},
	{"payments", "card-gateway-failover", "is set off by the wrong probe", []edit{{"anomaly: card-gateway-auth/down", "anomaly: card-gateway-standby-auth/down"}}},
	{"payments", "card-gateway-failover", "only suggests", []edit{{"mode: auto", "mode: suggest"}}},
	{"payments", "card-gateway-failover", "waits for a yes at night", []edit{{"mode: auto", "mode: approve"}}},
	{"payments", "card-gateway-failover", "asks nobody, however much is in doubt", []edit{{"      ask: items > 60 || amount > money(600000, \"EUR\") # above 6,000.00 EUR a person looks first\n", ""}}},
	{"payments", "card-gateway-failover", "has no limit of items or money", []edit{{"    items: 300\n    amount: {EUR: 3000000} # 30,000.00 EUR\n    within: [{per: 24h, items: 2000, amount: {EUR: 20000000}}]\n", ""}}},
	{"payments", "card-gateway-failover", "has so small a limit that it never settles", []edit{{"items: 300\n", "items: 3\n"}}},
	{"payments", "card-gateway-failover", "asks the wrong system", []edit{{"        integration: card-gateway\n        unknown", "        integration: payments-ledger\n        unknown"}}},
	{"payments", "card-gateway-failover", "frees nothing that never happened", []edit{{"        void: {integration: payments-db, statement: \"update captures set state = 'new' where id = $1 and state = 'in_doubt'\", args: [key]}\n", ""}}},
	{"payments", "card-gateway-failover", "proves nothing", []edit{{"  verify: {probes: [card-gateway-standby-auth, captures-in-doubt, captures-waiting], within: 5m, hold: 1m}\n", ""}}},
	{"payments", "captures-settle", "asks although nobody sees the gateway", []edit{{"    - {name: well, do: expect, with: {probe: card-gateway-auth, ok: 3, within: 1m}}\n", ""}}},
	{"payments", "captures-settle", "is set off by a crowd instead of by age", []edit{{"anomaly: captures-in-doubt-age/lingering", "anomaly: captures-in-doubt/rising"}}},
	{"payments", "card-gateway-failback", "goes to the standby once more", []edit{{"integration: card-gateway, to: primary", "integration: card-gateway, to: standby"}}},
	{"payments", "card-gateway-failback", "goes back to a gateway that is ill", []edit{{payWhen, ""}, {"    - {name: well, do: expect, with: {probe: card-gateway-auth, ok: 12, within: 2m}}\n", ""}}},
	{"payments", "card-gateway-failback", "never begins", []edit{{"mode: auto", "mode: observe"}}},

	{"orders", "booking-replay", "replays before the ERP system was seen to be well", []edit{{"    - {name: well, do: expect, with: {probe: orders-erp-health, ok: 6, within: 5m}}\n", ""}}},
	{"orders", "booking-replay", "replays while the ERP system is down", []edit{{"    - {name: well, do: expect, with: {probe: orders-erp-health, ok: 6, within: 5m}}\n", ""}, {"    when: '!(\"orders-erp-health/down\" in incident.anomalies)'\n", ""}}},
	{"orders", "booking-replay", "sends no canary", []edit{{"canary: [1, 10]", "canary: []"}}},
	{"orders", "booking-replay", "takes from the wrong queue", []edit{{"from: bookings.dlq, to: bookings,", "from: bookings, to: bookings.dlq,"}}},
	{"orders", "booking-replay", "sends to a queue that nobody reads", []edit{{"to: bookings,", "to: orders,"}}},
	{"orders", "booking-replay", "asks nobody, however many there are", []edit{{"      ask: items > 1000\n", ""}}},
	{"orders", "booking-replay", "has no limit of items", []edit{{"    items: 1500\n    within: [{per: 24h, items: 6000}]\n", ""}}},
	{"orders", "booking-replay", "tries poison again and again", []edit{{"attempts: 1}", "attempts: 50}"}}},
	{"orders", "booking-replay", "is set off by the worker's queue", []edit{{"anomaly: bookings-dead/piling", "anomaly: bookings-waiting/piling"}}},
	{"orders", "booking-worker-restart", "believes the heartbeat alone", []edit{{"anomaly: bookings-waiting/piling", "anomaly: booking-worker/silent"}, {"    confirm: {atLeast: 2, of: [bookings-waiting/piling, booking-worker/silent]}\n", ""}}},
	{"orders", "booking-worker-restart", "starts the wrong thing", []edit{{"with: {integration: booking-workers,", "with: {integration: orders-erp,"}}},
	{"orders", "booking-worker-restart", "only suggests", []edit{{"mode: auto", "mode: suggest"}}},

	{"erp", "erp-unblock", "ends sessions although nobody sees the locks", []edit{{"anomaly: erp-locks/contention", "anomaly: erp-answers/hanging"}, {"    confirm: {atLeast: 2, of: [erp-locks/contention, erp-answers/hanging, postings-waiting/old]}\n", ""}}},
	{"erp", "erp-unblock", "ends sessions all day", []edit{{"runs: 4 per 1h, cooldown: 2m", "runs: 400 per 1h, cooldown: 2m"}}},
	{"erp", "erp-unblock", "looks at the wrong system", []edit{{"        integration: erp-db\n", "        integration: erp-api\n"}}},
	{"erp", "erp-unblock", "counts as done when the next lock is there already", []edit{{"within: 5m, hold: 1m", "within: 5m"}}},
	{"erp", "erp-unblock", "gives up for hours after one run", []edit{{"cooldown: 2m", "cooldown: 6h"}}},
	{"erp", "posting-worker-restart", "takes a worker that waits for a dead one", []edit{{"    confirm: {atLeast: 2, of: [postings-waiting/old, posting-worker/silent]}\n", ""}}},
	{"erp", "posting-worker-restart", "closes the worker's queue instead", []edit{{"effect: restart", "effect: hold"}}},

	{"ach", "ach-hold", "acts in freezes and after the cut-off", []edit{{"  calendar: ach-banking\n", ""}}},
	{"ach", "ach-hold", "holds everything for one missing acknowledgement", []edit{{"    confirm: {atLeast: 2, of: [ach-unacknowledged/missing, ach-bank-answers/down, ach-ready/piling]}\n", ""}}},
	{"ach", "ach-hold", "holds rows of another table", []edit{{"table: ach_payments", "table: ach_files"}}},
	{"ach", "ach-hold", "never begins", []edit{{"mode: auto", "mode: observe"}}},
	{"ach", "ach-look-up", "acts in freezes and after the cut-off", []edit{{"  calendar: ach-banking\n", ""}}},
	{"ach", "ach-look-up", "asks although nobody sees the bank", []edit{{"    - {name: well, do: expect, with: {probe: ach-bank-answers, ok: 4, within: 5m}}\n", ""}}},
	{"ach", "ach-release", "lets money go without people", []edit{{"mode: approve", "mode: auto"}}},
	{"ach", "ach-release", "lets money go while the bank is ill", []edit{{"    when: '!(\"ach-bank-answers/down\" in incident.anomalies) && !(\"ach-unacknowledged/missing\" in incident.anomalies)'\n", ""}, {achWell, ""}, {achAll, ""}}},
	{"ach", "ach-release", "is never set off", []edit{{"anomaly: ach-held/some", "anomaly: ach-outgoing/stuck"}}},
	{"ach", "ach-escalate", "tells nobody in a freeze", []edit{{"  on: {anomaly: ach-ready/piling}\n", "  on: {anomaly: ach-ready/piling}\n  calendar: ach-banking\n"}}},

	{"claims", "claims-by-hand", "sends claims to a queue that nobody reads", []edit{{"to: claims.manual}", "to: claims.prepare}"}}},
	{"claims", "claims-by-hand", "sends claims to an empty desk", []edit{{"    - {name: staffed, do: expect, with: {probe: claims-desk-staffed, ok: 2, within: 2m}}\n", ""}}},
	{"claims", "claims-by-hand", "asks nobody, however much is at stake", []edit{{"      ask: incident.items > 20\n", ""}}},
	{"claims", "claims-by-hand", "believes one probe alone", []edit{{"    confirm: {atLeast: 2, of: [eligibility-answers/down, eligibility-dead/some, eligibility-waiting/piling]}\n", ""}}},
	{"claims", "claims-to-provider", "moves the wrong way", []edit{{"from: claims.manual, to: claims.eligibility}", "from: claims.eligibility, to: claims.manual}"}}},
	{"claims", "claims-to-provider", "goes back while the provider is down", []edit{{claimsWhen, ""}, {"    - {name: well, do: expect, with: {probe: eligibility-answers, ok: 10, within: 10m, hold: 5m}}\n", ""}}},
	{"claims", "claims-to-provider", "never begins", []edit{{"mode: auto", "mode: suggest"}}},
	{"claims", "claims-replay", "replays while the provider is down", []edit{{claimsWhen, ""}, {"    - {name: well, do: expect, with: {probe: eligibility-answers, ok: 8, within: 5m}}\n", ""}}},
	{"claims", "claims-replay", "takes from the wrong queue", []edit{{"from: claims.eligibility.dlq", "from: claims.manual"}}},
	{"claims", "claims-replay", "has no limit of items", []edit{{", items: 150, within: [{per: 24h, items: 800}]", ""}}},

	{"intake", "intake-hold", "takes a pause for a fault", []edit{{"    confirm: {atLeast: 2, of: [documents-arrived/flat, documents-entered/flat]} # two queries of two teams: what came, and what was typed\n", ""}}},
	{"intake", "intake-hold", "opens the gate instead of closing it", []edit{{"effect: hold", "effect: release"}}},
	{"intake", "intake-hold", "stops the poller's supervisor instead", []edit{{"integration: intake-export", "integration: intake-workers"}}},
	{"intake", "intake-release", "never opens the gate", []edit{{"mode: auto", "mode: suggest"}}},
	{"intake", "intake-release", "closes the gate once more", []edit{{"effect: release", "effect: hold"}}},
	{"intake", "intake-release", "is set off by what it never sees", []edit{{"anomaly: documents-kept/piling", "anomaly: intake-mail/down"}}},
	{"intake", "intake-poller-restart", "believes the heartbeat alone", []edit{{"    confirm: {atLeast: 2, of: [intake-poller/silent, documents-arrived/flat]}\n", ""}}},
	{"intake", "intake-poller-restart", "starts the wrong thing", []edit{{"with: {integration: intake-workers,", "with: {integration: intake-export,"}}},
}
