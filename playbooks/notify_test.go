package playbooks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

func channel(name, driver string, with any) api.Integration {
	in := integration(name)
	in.Spec.Channel = &api.Driver{Driver: driver, With: api.ParamsOf(with)}
	return in
}

var aMessage = Message{Title: "Gateway down <!channel>", Text: "Traffic moved.\nNothing lost.", Severity: "critical", Dedup: "inc-1"}

// tellOne tells a message through a channel and gives what the receiver got.
func tellOne(t *testing.T, w *world, in api.Integration, m Message) api.Outcome {
	t.Helper()
	r, err := BuildChannel(in, w.Env)
	if err != nil {
		t.Fatal(err)
	}
	call := aCall
	call.Message = &m
	return r.Run(within(t, 3*time.Second), call)
}

func TestHTTPChannels(t *testing.T) {
	var body []byte
	var header http.Header
	status := http.StatusAccepted
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
		w.WriteHeader(status)
	}))
	defer s.Close()
	w := newWorld()

	out := tellOne(t, w, channel("ops", "webhook", map[string]any{"url": s.URL + "/hook/s3cr3t", "sign": "signing-key"}), aMessage)
	want(t, out, api.ResultDone, "told ops")
	var m struct {
		Title, Severity, Dedup, Key string
		Resolved                    bool
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Title != aMessage.Title || m.Severity != "critical" || m.Key != "key-1" || header.Get("Idempotency-Key") != "key-1" {
		t.Fatalf("%s %v", body, err)
	}
	sign := header.Get("X-Backstay-Signature")
	stamp, _, _ := strings.Cut(strings.TrimPrefix(sign, "t="), ",")
	var seconds int64
	fmt.Sscan(stamp, &seconds)
	if sign != signature("signing-key", time.Unix(seconds, 0), body) || sign == signature("other-key", time.Unix(seconds, 0), body) || time.Since(time.Unix(seconds, 0)) > time.Minute {
		t.Fatal(sign)
	}

	want(t, tellOne(t, w, channel("chat", "slack", map[string]any{"url": s.URL}), aMessage), api.ResultDone, "told chat")
	if text := string(body); strings.Contains(text, "<!channel>") || !strings.Contains(text, "*Gateway down") {
		t.Fatal(text)
	}

	duty := channel("duty", "pagerduty", map[string]any{"routingKey": "R0UTINGKEY", "url": s.URL})
	want(t, tellOne(t, w, duty, aMessage), api.ResultDone, "told duty")
	var event struct {
		RoutingKey string `json:"routing_key"`
		Action     string `json:"event_action"`
		Dedup      string `json:"dedup_key"`
		Payload    struct{ Summary, Source, Severity string }
	}
	if err := json.Unmarshal(body, &event); err != nil || event.RoutingKey != "R0UTINGKEY" || event.Action != "trigger" || event.Dedup != "inc-1" || event.Payload.Severity != "critical" || event.Payload.Source != "backstay" {
		t.Fatalf("%s %v", body, err)
	}
	resolved := aMessage
	resolved.Resolved = true
	tellOne(t, w, duty, resolved)
	if err := json.Unmarshal(body, &event); err != nil || event.Action != "resolve" || event.Dedup != "inc-1" {
		t.Fatalf("%s %v", body, err)
	}

	status = http.StatusForbidden
	out = tellOne(t, w, channel("ops", "webhook", map[string]any{"url": s.URL + "/hook/s3cr3t"}), aMessage)
	want(t, out, api.ResultRefused, "403")
	if strings.Contains(fmt.Sprint(out), "s3cr3t") {
		t.Fatal("the channel's URL came through:", out)
	}
	s.Close()
	out = tellOne(t, newWorld(), channel("ops", "webhook", map[string]any{"url": s.URL + "/hook/s3cr3t"}), aMessage)
	want(t, out, api.ResultFailed, "nothing was sent")
	if strings.Contains(fmt.Sprint(out), "s3cr3t") {
		t.Fatal("the channel's URL came through:", out)
	}
}

// mailServer speaks enough SMTP to take one mail at a time; each answer can be replaced by one of the script.
func mailServer(t *testing.T, script map[string]string) (address string, mails chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	mails = make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go takeMail(c, script, mails)
		}
	}()
	return l.Addr().String(), mails
}

func takeMail(c net.Conn, script map[string]string, mails chan<- string) {
	defer c.Close()
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220 here\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		answer, scripted := script[word]
		if word == "DATA" && !scripted {
			fmt.Fprint(c, "354 go on\r\n")
			var mail strings.Builder
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				mail.WriteString(line)
			}
			if answer, scripted = script["."]; scripted && answer == "" {
				return
			}
			mails <- mail.String()
		}
		if !scripted {
			answer = "250 fine"
		}
		fmt.Fprint(c, answer+"\r\n")
	}
}

func TestSMTPChannel(t *testing.T) {
	w := newWorld()
	post := func(address string, more map[string]any) api.Integration {
		with := map[string]any{"server": address, "tls": "none", "from": "backstay@example.com", "to": []string{"oncall@example.com"}}
		for k, v := range more {
			with[k] = v
		}
		return channel("mail", "smtp", with)
	}
	address, mails := mailServer(t, nil)
	m := aMessage
	m.Title = "Gateway down\r\nBcc: everybody@example.com"
	want(t, tellOne(t, w, post(address, nil), m), api.ResultDone, "told mail")
	mail := <-mails
	if strings.Contains(mail, "\nBcc:") || !strings.Contains(mail, "Subject: Gateway down Bcc") || !strings.Contains(mail, "Traffic moved.\r\nNothing lost.") || !strings.Contains(mail, "Severity: critical") {
		t.Fatal(mail)
	}
	address, _ = mailServer(t, map[string]string{"RCPT": "550 no such box"})
	want(t, tellOne(t, w, post(address, nil), m), api.ResultRefused, "550")
	address, _ = mailServer(t, map[string]string{"MAIL": "451 later"})
	want(t, tellOne(t, w, post(address, nil), m), api.ResultFailed, "451")
	address, _ = mailServer(t, map[string]string{".": ""})
	want(t, tellOne(t, w, post(address, nil), m), api.ResultUnknown, "no answer")
	address, _ = mailServer(t, nil)
	want(t, tellOne(t, w, post(address, map[string]any{"tls": "required"}), m), api.ResultFailed, "STARTTLS")
	for word, more := range map[string]map[string]any{"plain mail address": {"to": []string{"a@b\r\nRCPT TO:<c@d>"}}, "without TLS": {"username": "u"}, "HOST:PORT": {"server": "x"}} {
		if _, err := BuildChannel(post(address, more), w.Env); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestNotify(t *testing.T) {
	var titles []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Title string }
		json.NewDecoder(r.Body).Decode(&m)
		titles = append(titles, m.Title)
	}))
	defer s.Close()
	w := newWorld(channel("down", "webhook", map[string]any{"url": "http://127.0.0.1:1/"}), channel("ops", "webhook", map[string]any{"url": s.URL}), integration("erp"))
	r, _ := w.build(t, "notify", map[string]any{"channels": []string{"down", "ops"}, "title": "Look here"})
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultFailed, "tell down")
	if len(titles) != 1 || titles[0] != "Look here" {
		t.Fatal("one dead channel kept another one from being told:", titles)
	}
	w.refuse(t, "notify", map[string]any{"channel": "erp"}, "no channel")
	w.refuse(t, "notify", map[string]any{}, "nobody")
	w.refuse(t, "notify", map[string]any{"channel": "moon"}, "no integration")
}
