package api

import (
	"strings"
	"testing"
)

func TestMaskCards(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"card 4111111111111111 declined", "card xxxxxxxxxxxx1111 declined"},
		{"card 4111 1111 1111 1111 declined", "card xxxx xxxx xxxx 1111 declined"},
		{"4111-1111-1111-1111", "xxxx-xxxx-xxxx-1111"},
		{"amex 3782 822463 10005.", "amex xxxx xxxxxx x0005."},
		{"378282246310005", "xxxxxxxxxxx0005"},
		{"pan=5555555555554444&x=1", "pan=xxxxxxxxxxxx4444&x=1"},
		{"PAN4222222222222;", "PANxxxxxxxxx2222;"},
		{"6304000000000000000 is of 19 digits", "xxxxxxxxxxxxxxx0000 is of 19 digits"},
		{"two: 4111111111111111,5105105105105100", "two: xxxxxxxxxxxx1111,xxxxxxxxxxxx5100"},
		{"5500 0000 0000 0004 3400 000000 00009 4111 1111 1111 1111 1", "xxxx xxxx xxxx 0004 xxxx xxxxxx x0009 xxxx xxxx xxxx 1111 1"},
		{"order 1234 4111 1111 1111 1111", "order 1234 xxxx xxxx xxxx 1111"},
		{"4111111111111112 has a wrong check digit", ""},
		{"1763774545126 and 1763774545123456789 are times", ""},
		{"41111111111111110000 is too long", ""},
		{"ratio 0.4111111111111111", ""},
		{"sha256:4111111111111111aaaabbbbccccddddeeeeffff0000111122223333444455556", ""},
		{"2026-11-22 01:22:20.142995714", ""},
		{"", ""},
	} {
		want := c.want
		if want == "" {
			want = c.in
		}
		got := MaskCards(c.in)
		if got != want {
			t.Errorf("MaskCards(%q) = %q, want %q", c.in, got, want)
		}
		if again := MaskCards(got); again != got {
			t.Errorf("masking %q twice gives %q", got, again)
		}
	}
}

func TestRedactShapes(t *testing.T) {
	const secret = "s3cr3tValue0123"
	for _, text := range []string{
		"got Bearer " + secret, "Authorization: Basic " + secret, `{"password":"` + secret + `"}`, `{"api_key": "` + secret + `"}`,
		`{\"access_token\":\"` + secret + `\"}`, "the password is " + secret, "token: " + secret, "key AKIAIOSFODNN7EXAMPLE",
		"sk_live_" + secret, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + secret, "ghp_abcdefghij0123456789abcd",
		"-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----",
	} {
		got := Redact(text)
		for _, s := range []string{secret, "AKIAIOSFODNN7EXAMPLE", "abcdefghij0123456789"} {
			if strings.Contains(got, s) {
				t.Errorf("Redact(%q) = %q", text, got)
			}
		}
		if again := Redact(got); again != got {
			t.Errorf("redacting %q twice gives %q", got, again)
		}
	}
	for _, text := range []string{"no token was sent", "the password is wrong", "basic checks passed", "3 of the last 5 checks were bad",
		"the idempotency key rem-1/pay is known", "status 503", "say why with --reason"} {
		if got := Redact(text); got != text {
			t.Errorf("Redact(%q) = %q: nothing there is secret", text, got)
		}
	}
}

// FuzzMaskCards holds the mask to its promise: nothing but digits becomes x, nothing is left that it would mask again.
func FuzzMaskCards(f *testing.F) {
	for _, s := range []string{"4111111111111111", "4111 1111-1111 1111", "1 4111 1111 1111 1111 2", "378282246310005x", "44444444444444444444", "11 111 11110111 1111 111 11110111"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := MaskCards(s)
		if len(got) != len(s) {
			t.Fatalf("the length of %q changed: %q", s, got)
		}
		for i := range len(s) {
			if got[i] != s[i] && (!isDigit(s[i]) || got[i] != 'x') {
				t.Fatalf("%q became %q", s, got)
			}
		}
		if again := MaskCards(got); again != got {
			t.Fatalf("masking %q twice gives %q, then %q", s, got, again)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	texts := map[string]string{
		"plain": "3 of the last 5 checks were bad; the last: POST http://127.0.0.1:42765/authorizations: no answer within the probe's timeout",
		"card":  "the gateway refused card 4111 1111 1111 1111 of order 100234 with status 402, and says that a person must look at the request",
	}
	for _, name := range []string{"plain", "card"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Redact(texts[name])
			}
		})
	}
}
