package web

import (
	"net/http"
	"strings"
)

// tiles serves the log as c2sp.org/tlog-tiles has it. It wants the token like everything else: entries hold business facts.
func (s *server) tiles(w http.ResponseWriter, r *http.Request) {
	b, err := s.Store.Published(r.PathValue("path"))
	if err != nil {
		writeError(w, err)
		return
	}
	kind := "application/octet-stream"
	if !strings.HasPrefix(r.PathValue("path"), "tile/") {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b) // the caller went away: nobody is left to tell
}
