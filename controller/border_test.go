package controller

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/backstay/backstay/api"
)

// Everything below must appear nowhere: each stands for a credential or a card in one input of a controller.
var planted = map[string]string{
	"password in a URL":       "urlPass9481word",
	"environment":             "env-s3cret-77f0a1",
	"file":                    "file/s3cret+55d2==",
	"webhook path":            "T00000000/B0000/pathSecret8812",
	"bearer token echoed":     "abcdEFGH1234ijkl5678",
	"AWS key":                 "AKIAIOSFODNN7EXAMPLE",
	"JSON field echoed":       "jsonPass4417x",
	"query parameter":         "queryTok3n9921",
	"card, plain":             "4111111111111111",
	"card, groups":            "5500 0000 0000 0004",
	"card, hyphens":           "3400-000000-00009",
	"card as a row's key":     "6011000000000004",
	"card of an SQL error":    "30000000000004",
	"card in a reason":        "4242424242424242",
	"password in a reason":    "reasonPw5533y",
	"heartbeat":               "beatTok3n4411z",
	"heartbeat's card":        "5105105105105100",
	"plain channel password":  "smtpPassw0rd881",
	"customer, personal":      "customer-ann-example-10042",
	"customer of a resolve":   "customer/bob example&10043",
	"customer of a requeue":   "customer-cid-example-10044",
	"poison of a requeue":     "customer-dan-example-10045",
	"card in broken settings": "4000056655665556",
}

// world is an outside system that gives away whatever it was told, and more.
func leaky(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		say := strings.Join([]string{"leak-" + strings.TrimPrefix(r.URL.Path, "/"), password, r.Header.Get("X-Env"), r.Header.Get("X-File"),
			"Bearer " + planted["bearer token echoed"], planted["AWS key"], planted["card, plain"], planted["card, groups"], planted["card, hyphens"],
			`{"password": "` + planted["JSON field echoed"] + `"}`, "?token=" + planted["query parameter"]}, " ")
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/json":
			must(t, json.NewEncoder(w).Encode(map[string]string{"state": say}))
		case "/well":
			must(t, json.NewEncoder(w).Encode(map[string]string{"state": "well"}))
		default:
			if key, is := strings.CutPrefix(r.URL.Path, "/captures/"); is {
				must(t, json.NewEncoder(w).Encode(map[string]string{"state": "leak-capture " + key}))
				return
			}
			http.Error(w, say, http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const leakyConfig = `
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: shop}
spec: {endpoints: [{name: main, url: "%[1]s"}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: hook}
spec:
  channel: {driver: webhook, with: {url: {env: PLANTED_HOOK}}}
---
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: post}
spec:
  channel: {driver: smtp, with: {server: "127.0.0.1:1", from: a@example.org, to: [b@example.org], username: u, password: %[4]s}}
---
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: books}
spec: {endpoints: [{name: main, url: "sqlite:%[2]s"}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: json}
spec:
  type: http
  integration: shop
  every: 200ms
  with: {path: /json, headers: {X-Env: {env: PLANTED_ENV}, X-File: {file: "%[3]s"}}, json: ['state == "well"']}
  detect: [{name: down, failures: {atLeast: 1, of: 1}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: rows}
spec:
  type: sql
  integration: books
  every: 200ms
  with: {query: "select name, owed from debts", read: series}
  detect: [{name: high, threshold: {above: 5}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: customers}
spec:
  type: sql
  integration: books
  every: 200ms
  personal: true
  with: {query: "select name, owed from customers", read: series}
  detect: [{name: high, threshold: {above: 5}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: wrong}
spec:
  type: sql
  integration: books
  every: 200ms
  with: {query: "select json_extract(note, number) from cards"}
  detect: [{name: down, failures: {atLeast: 1, of: 1}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: job}
spec:
  type: heartbeat
  integration: books
  every: 200ms
  with: {within: 1h}
  detect: [{name: down, failures: {atLeast: 1, of: 1}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: mend}
spec:
  mode: auto
  on: {anomaly: json/down}
  steps:
    - {name: call, do: http, with: {integration: shop, path: /mend, method: PUT, danger: D1, repeat: idempotent, headers: {X-Env: {env: PLANTED_ENV}, X-File: {file: "%[3]s"}}}}
  otherwise: stop
  notify: [hook, post]
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: settle}
spec:
  mode: auto
  on: {anomaly: customers/high}
  steps:
    - name: ask
      do: resolve
      with:
        personal: true
        integration: shop
        unknown: {integration: books, query: "select name as key, 'main' as endpoint, 1 as at from captures"}
        lookup: {path: "/captures/{key}", pick: state, happened: [well]}
        settle: {integration: books, statement: "update captures set name = name where name = ?", args: [key]}
  otherwise: stop
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: again}
spec:
  mode: auto
  on: {anomaly: job/down}
  steps:
    - {name: once, do: requeue, with: {personal: true, integration: books, table: tasks, claimed: claimed, olderThan: 1m, attempts: 1}}
    - {name: twice, do: requeue, with: {personal: true, integration: books, table: tasks, claimed: claimed, olderThan: 1m, attempts: 1}}
    - {name: locked, do: requeue, with: {personal: true, integration: books, table: outbox, claimed: claimed, olderThan: 1m}}
  otherwise: stop
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: asked}
spec:
  mode: approve
  on: {anomaly: rows/high}
  steps: [{name: w, do: wait, with: {for: 1s}}]
`

// TestNothingLeaks runs a controller whose every input holds credentials and card numbers, and looks for them in all that it wrote,
// logged, counted and answered. What stands beside them must be there: else the test looked at nothing.
func TestNothingLeaks(t *testing.T) {
	dir := t.TempDir()
	host := strings.TrimPrefix(leaky(t), "http://")
	t.Setenv("PLANTED_ENV", planted["environment"])
	t.Setenv("PLANTED_HOOK", "http://"+host+"/"+planted["webhook path"])
	secret := filepath.Join(dir, "secret")
	must(t, os.WriteFile(secret, []byte(planted["file"]+"\n"), 0o600))
	database := filepath.Join(dir, "books.db")
	db, err := sql.Open("sqlite", database)
	must(t, err)
	for _, statement := range []string{"create table debts (name text, owed int)", "create table customers (name text, owed int)", "create table cards (number text, note text)",
		"insert into debts values ('leak-row', 9), ('" + planted["card as a row's key"] + "', 9)", "insert into customers values ('" + planted["customer, personal"] + "', 9)",
		"create table captures (name text)", "insert into captures values ('" + planted["customer of a resolve"] + "'), ('" + planted["customer, personal"] + "')",
		// What was given back is stuck again, and more with it, so that the next step finds poison; the outbox cannot be changed at all.
		"create table tasks (id text, claimed int)", "insert into tasks values ('" + planted["poison of a requeue"] + "', 1)",
		"create trigger again after update on tasks begin update tasks set claimed = 1 where id = new.id; insert into tasks values ('another', 1); end",
		"create table outbox (id text, claimed int)", "insert into outbox values ('" + planted["customer of a requeue"] + "', 1)",
		"create trigger locked before update on outbox begin select raise(abort, 'leak-outbox " + planted["customer of a requeue"] + "'); end",
		"insert into cards values ('leak-sql " + planted["card of an SQL error"] + "', '{}')"} {
		_, err := db.Exec(statement)
		must(t, err)
	}
	must(t, db.Close())
	config := filepath.Join(dir, "config")
	must(t, os.MkdirAll(config, 0o700))
	must(t, os.WriteFile(filepath.Join(config, "all.yaml"), fmt.Appendf(nil, leakyConfig, "http://user:"+planted["password in a URL"]+"@"+host, database, secret, planted["plain channel password"]), 0o600))

	var logs locked
	r := started(t, Options{Config: config, Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	r.post(t, "/api/v1/heartbeats/job", "heartbeat-token", map[string]any{"failed": true, "text": "leak-beat token=" + planted["heartbeat"] + " card " + planted["heartbeat's card"]})
	var remediations []api.Remediation
	waitFor(t, func() bool {
		r.get(t, "/api/v1/remediations", &remediations)
		ended, asked := map[string]bool{}, false
		for _, m := range remediations {
			ended[m.Playbook] = ended[m.Playbook] || m.End != ""
			asked = asked || m.Playbook == "asked" && m.Asked != ""
		}
		return ended["mend"] && ended["settle"] && ended["again"] && asked
	})
	for _, m := range remediations {
		if m.Playbook == "asked" {
			r.post(t, "/api/v1/decisions", "token", api.Decision{Verb: api.VerbDeny, By: "ann", Target: m.ID, Reason: "leak-decision: the password is " + planted["password in a reason"] + ", card " + planted["card in a reason"]})
		}
	}
	r.post(t, "/api/v1/pauses", "token", api.Pause{Owner: "ann", Reason: "leak-pause password=" + planted["password in a reason"] + " " + planted["card in a reason"]})
	must(t, os.WriteFile(filepath.Join(config, "broken.yaml"), []byte("apiVersion: backstay.dev/v1alpha1\nkind: Probe\nmetadata: {name: broken}\nspec: {type: http, every: \"leak-config "+planted["card in broken settings"]+"\", with: {url: \"http://u:"+planted["password in a URL"]+"@x\"}}\n"), 0o600))
	waitFor(t, func() bool { return strings.Contains(r.text(t, "/api/v1/entries"), "leak-config") })
	waitFor(t, func() bool { return strings.Contains(r.text(t, "/api/v1/entries"), string(api.EntryNotified)) })

	outputs := r.outputs(t, &logs)
	r.stop()
	outputs = append(outputs, filesOfFolder(t, filepath.Join(dir, "data"))...)
	outputs = append(outputs, member{"logs", logs.bytes()})
	if inputs := filesOfFolder(t, config); !bytes.Contains(inputs[0].data, []byte(planted["plain channel password"])) {
		t.Error("the search does not even find what is in the configuration")
	}
	total := 0
	for _, out := range outputs {
		total += len(out.data)
		for what, text := range planted {
			if bytes.Contains(out.data, []byte(text)) {
				at := bytes.Index(out.data, []byte(text))
				t.Errorf("%s: the %s leaked: %q", out.name, what, out.data[max(0, at-80):min(len(out.data), at+len(text)+20)])
			}
		}
	}
	t.Logf("%d outputs, %d bytes, %d planted texts: none found", len(outputs), total, len(planted))
	everything := ""
	for _, out := range outputs {
		everything += string(out.data)
	}
	for _, mark := range []string{"leak-json", "leak-mend", "leak-row", "leak-beat", "leak-decision", "leak-pause", "leak-config", "leak-sql", "leak-capture", "leak-outbox", "poison", "xxxxxxxxxxxx1111", "p:"} {
		if !strings.Contains(everything, mark) {
			t.Errorf("%q is nowhere: that input did not come through, so nothing was tested of it", mark)
		}
	}
	// People can be followed all the same: one from what a probe saw to what an action did.
	for _, by := range []struct{ who, said string }{{"customer, personal", "customers/high"}, {"customer, personal", "%s at main: look-up says leak-capture %s"},
		{"customer of a resolve", "%s at main: look-up says leak-capture %s"}, {"customer of a requeue", "leak-outbox %s"}, {"poison of a requeue", "[%s]"}} {
		hash, err := AuditPersonal(filepath.Join(dir, "data"), planted[by.who])
		must(t, err)
		if said := strings.ReplaceAll(by.said, "%s", hash); !strings.Contains(everything, hash) || !strings.Contains(everything, said) {
			t.Errorf("the %s cannot be followed by %s: nothing says %q", by.who, hash, said)
		}
	}
}

// locked is a buffer that several goroutines write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.b.Bytes())
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}

func (r *running) token(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.process.Data, name))
	must(t, err)
	return strings.TrimSpace(string(b))
}

// text asks for a page as it is.
func (r *running) text(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.process.address.String()+path, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+r.token(t, "token"))
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", path, res.Status)
	}
	return string(b)
}

func (r *running) post(t *testing.T, path, token string, body any) {
	t.Helper()
	b, err := json.Marshal(body)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.process.address.String()+path, bytes.NewReader(b))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+r.token(t, token))
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		t.Errorf("POST %s: %s: %s", path, res.Status, text)
	}
}

// outputs gathers what a running controller shows: pages, metrics, packs, the export and reports.
func (r *running) outputs(t *testing.T, _ *locked) []member {
	t.Helper()
	var out []member
	paths := []string{"/metrics"}
	for _, kind := range []string{"status", "incidents", "remediations", "probes", "playbooks", "integrations", "workflows", "entries", "pauses", "why/mend", "why/asked"} {
		paths = append(paths, "/api/v1/"+kind)
	}
	var incidents []api.Incident
	r.get(t, "/api/v1/incidents", &incidents)
	for _, inc := range incidents {
		paths = append(paths, "/api/v1/why/"+inc.ID)
		z, err := gzip.NewReader(bytes.NewReader(packOf(t, r.process.Data, inc.ID)))
		must(t, err)
		for pack := tar.NewReader(z); ; {
			h, err := pack.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			b, err := io.ReadAll(pack)
			must(t, err)
			out = append(out, member{inc.ID + ".tar.gz/" + h.Name, b})
		}
	}
	for _, path := range paths {
		out = append(out, member{path, []byte(r.text(t, path))})
	}
	var b bytes.Buffer
	must(t, AuditExport(context.Background(), r.process.Data, &b))
	out = append(out, member{"export", slices.Clone(b.Bytes())})
	report, err := MakeReport(t.Context(), r.process.Data, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	must(t, err)
	for _, format := range ReportFormats {
		b.Reset()
		must(t, report.Write(&b, format))
		out = append(out, member{"report." + format, slices.Clone(b.Bytes())})
	}
	return out
}

// filesOfFolder reads all files of a data folder.
func filesOfFolder(t *testing.T, dir string) []member {
	t.Helper()
	var out []member
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(out, member{path, b})
		return err
	}))
	return out
}
