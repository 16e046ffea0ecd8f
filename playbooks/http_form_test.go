package playbooks

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/backstay/backstay/api"
)

// TestHTTPForm: some APIs, Stripe's among them, take web forms only.
func TestHTTPForm(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- r.Header.Get("Content-Type") + " " + string(body)
	}))
	defer s.Close()
	w := newWorld(integration("stripe", "main="+s.URL))
	with := map[string]any{"integration": "stripe", "path": "/v1/refunds", "form": map[string]string{"metadata[step]": "$step", "amount": "1099", "note": "$$ & more", "key": "$key"}}
	r, _ := w.build(t, "http", with)
	call := aCall
	call.Key, call.Step = "k=1&2", "pay back"
	out, _ := perform(t, r, call)
	want(t, out, api.ResultDone, "200")
	if have, want := <-got, "application/x-www-form-urlencoded amount=1099&key=k%3D1%262&metadata%5Bstep%5D=pay+back&note=%24+%26+more"; have != want {
		t.Errorf("sent %s, want %s", have, want)
	}
	with["body"] = map[string]any{"a": 1}
	w.refuse(t, "http", with, "body or form")
	delete(with, "body")
	with["form"] = map[string]string{"a": "$nothing"}
	w.refuse(t, "http", with, "nothing")
	with["form"], with["method"] = map[string]string{"a": "b"}, "GET"
	w.refuse(t, "http", with, "no body")
}
