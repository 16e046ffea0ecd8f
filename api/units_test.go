package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationText(t *testing.T) {
	for text, want := range map[string]time.Duration{"250ms": 250 * time.Millisecond, "30s": 30 * time.Second, "90s": 90 * time.Second,
		"1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "0s": 0, "2h": 2 * time.Hour} {
		d, err := ParseDuration(text)
		if err != nil || d.Duration != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, d, err, want)
		}
	}
	for text, want := range map[string]string{"2h0m0s": "2h", "168h": "7d", "90s": "1m30s", "24h": "24h", "10m": "10m", "1h10m": "1h10m", "0s": "0s"} {
		if d, _ := ParseDuration(text); d.String() != want {
			t.Errorf("%s prints as %s, want %s", text, d, want)
		}
	}
	for _, text := range []string{"", "5", "-5s", "d", "1.5d", "99999d9", "5 s", "1e3s", "99999999d"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, d)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration{time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("duration %d: %s reads as %v, %v", d.Duration, d, back, err)
		}
		p := Percent{rapid.Int64Range(0, 1_000_000).Draw(t, "ppm")}
		if back, err := ParsePercent(p.String()); err != nil || back != p {
			t.Fatalf("share %d: %s reads as %v, %v", p.PPM, p, back, err)
		}
		r := Rate{rapid.Int64Range(1, math.MaxInt64).Draw(t, "n"), time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "per"))}
		if back, err := ParseRate(r.String()); err != nil || back != r {
			t.Fatalf("rate %v: %s reads as %v, %v", r, r, back, err)
		}
	})
}

func TestBadUnits(t *testing.T) {
	for _, text := range []string{"", "20", "%", "-1%", "101%", "1e1%", "20.00001%", "0x10%", "NaN%", ".5%", "5.%", "+5%"} {
		if p, err := ParsePercent(text); err == nil {
			t.Errorf("ParsePercent(%q) = %v, want an error", text, p)
		}
	}
	for _, text := range []string{"20", "20/", "/s", "0/s", "-1/s", "1/0s", "1.5/s", "many per h"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, r)
		}
	}
	for text, want := range map[string]string{"20/s": "20/s", "600/m": "600/m", "2 per 1h": "2 per 1h", "2/h": "2 per 1h", "3 per 2d": "3 per 2d"} {
		if r, err := ParseRate(text); err != nil || r.String() != want {
			t.Errorf("ParseRate(%q) prints %s, %v; want %s", text, r, err, want)
		}
	}
}

// TestMoneyNeverWraps holds Plus and Times against exact arithmetic: they agree, or stay at the end of the range.
func TestMoneyNeverWraps(t *testing.T) {
	clamp := func(x *big.Int) int64 {
		switch {
		case x.IsInt64():
			return x.Int64()
		case x.Sign() > 0:
			return math.MaxInt64
		}
		return math.MinInt64
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		sum := Money{"EUR": a}.Plus(Money{"EUR": b, "JPY": 1})
		if want := clamp(new(big.Int).Add(big.NewInt(a), big.NewInt(b))); sum["EUR"] != want || sum["JPY"] != 1 {
			t.Fatalf("%d + %d = %v, want %d", a, b, sum, want)
		}
		if got, want := (Money{"EUR": a}).Times(b)["EUR"], clamp(new(big.Int).Mul(big.NewInt(a), big.NewInt(b))); got != want {
			t.Fatalf("%d * %d = %d, want %d", a, b, got, want)
		}
	})
	m := Money{"EUR": 1}
	m.Plus(nil)["EUR"] = 5
	if m["EUR"] != 1 {
		t.Error("Plus gave the same map back")
	}
}

func TestMoneyText(t *testing.T) {
	m := Money{"USD": -5, "EUR": 50000, "JPY": 500, "KWD": 1234, "CHF": math.MinInt64}
	if got, want := m.String(), "-92233720368547758.08 CHF + 500.00 EUR + 500 JPY + 1.234 KWD + -0.05 USD"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if (Money{"EUR": 5}).Exceeds(nil) || !(Money{"EUR": 5}).Exceeds(Money{"USD": 9}) || (Money{"EUR": 5}).Exceeds(Money{"EUR": 5}) {
		t.Error("Exceeds: no limit bounds nothing, a limit in another currency allows nothing, the limit itself is allowed")
	}
}

func TestErrorfKeepsEveryCause(t *testing.T) {
	err := Errorf(CodeConflict, "read %q: %w; then %w", "x", fs.ErrNotExist, fs.ErrPermission)
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("causes are lost: %v", err)
	}
	if got, want := err.Error(), `read "x": file does not exist; then permission denied`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("more: %w", err)
	if CodeOf(wrapped) != CodeConflict || CodeOf(errors.New("x")) != CodeInternal {
		t.Error("CodeOf looks through wrapping, and gives internal otherwise")
	}
	if Code("new").HTTPStatus() != 500 || Code("new").ExitCode() != 1 || CodeTampered.ExitCode() != 7 {
		t.Error("codes map to status and exit code, also unknown ones")
	}
}

func TestSecretGivesNothingAway(t *testing.T) {
	s := struct{ URL Secret }{Secret{Text: "amqp://guest:hunter2@host"}}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), string(encoded)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is in %s", text)
		}
	}
	for _, text := range []string{`"x"`, `{"env":"X"}`, `{"file":"/x"}`, `""`} {
		var s Secret
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if back, _ := json.Marshal(s); string(back) != text {
			t.Errorf("%s becomes %s", text, back)
		}
	}
	var bad Secret
	if json.Unmarshal([]byte(`{"env":"X","file":"y"}`), &bad) == nil || json.Unmarshal([]byte(`5`), &bad) == nil {
		t.Error("env and file together, and numbers, must be refused")
	}
}

func TestRedact(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain text, 5:30 @ noon", "plain text, 5:30 @ noon"},
		{"amqp://user:secret@host/vhost", "amqp://user:xxxxx@host/vhost"},
		{"redis://:secret@host:6379/0", "redis://:xxxxx@host:6379/0"},
		{"https://user@host/path", "https://user@host/path"},
		{"http://host:8080/users/@me", "http://host:8080/users/@me"},
		{"http://[::1]:80/a@b", "http://[::1]:80/a@b"},
		{"dial a://u:p1@h1, then b://u:p2@h2: refused", "dial a://u:xxxxx@h1, then b://u:xxxxx@h2: refused"},
		{"a://u:p1@h,b://u:p2@h", "a://u:xxxxx@h,b://u:xxxxx@h"},
		{"postgres://u:p@ss@host/db", "postgres://u:xxxxx@host/db"},
		{"postgres://u:pa/ss?w#o@host/db", "postgres://u:xxxxx@host/db"},
		{`parse "http://u:pw@h": bad`, `parse "http://u:xxxxx@h": bad`},
		{"https://h/p?password=a&token=b&x=1", "https://h/p?password=xxxxx&token=xxxxx&x=1"},
		{"https://h/p?access_token=a;client_secret=b", "https://h/p?access_token=xxxxx;client_secret=xxxxx"},
		{"host=db password='two words' user=x", "host=db password=xxxxx user=x"},
		{"app:pw@tcp(db:3306)/orders", "app:xxxxx@tcp(db:3306)/orders"},
		{"Authorization: Bearer abc.def", "Authorization: Bearer xxxxx"},
		{"a://b://u:pw@h", "a://b:xxxxx@h"},
	} {
		if got := Redact(c.in); got != c.want {
			t.Errorf("Redact(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("user", "secret", "host", "amqp")
	f.Add("", "p@ss/w?r#d", "h:1", "http")
	f.Fuzz(func(t *testing.T, user, password, host, scheme string) {
		once := Redact(user + password + host)
		if twice := Redact(once); twice != once {
			t.Fatalf("redacting twice differs: %q, %q", once, twice)
		}
		const marker = "S3CR3T"
		clean := func(s string) string {
			return strings.Map(func(c rune) rune {
				if c <= ' ' || strings.ContainsRune("\"'<>`@:/?#=&", c) || c > 126 {
					return -1
				}
				return c
			}, s)
		}
		url := "x" + clean(scheme) + "://" + clean(user) + ":" + marker + clean(password) + "@" + clean(host) + "/path"
		if got := Redact("before " + url + " after"); strings.Contains(got, marker) {
			t.Fatalf("%q keeps the password: %q", url, got)
		}
	})
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"30s", "7d", "20%", "99.95%", "20/s", "2 per 1h", "1h30m", "", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil {
			if back, err := ParseDuration(d.String()); err != nil || back != d || d.Duration < 0 {
				t.Fatalf("%q is %s is %v, %v", s, d, back, err)
			}
		}
		if p, err := ParsePercent(s); err == nil {
			if back, err := ParsePercent(p.String()); err != nil || back != p || p.PPM < 0 || p.PPM > 1_000_000 {
				t.Fatalf("%q is %s is %v, %v", s, p, back, err)
			}
		}
		if r, err := ParseRate(s); err == nil {
			if back, err := ParseRate(r.String()); err != nil || back != r || r.N < 1 || r.Per <= 0 {
				t.Fatalf("%q is %s is %v, %v", s, r, back, err)
			}
		}
	})
}
