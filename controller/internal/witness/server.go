package witness

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/store"
)

const (
	fileKey       = "cosign.key"
	fileKeyPublic = "cosign.pub"
	bodyMax       = 64 << 10 // bytes of a request
)

// Options say who the witness is and which logs it watches.
type Options struct {
	Dir  string   // its folder; made when missing
	Name string   // its name in signatures, such as witness.example/w1; only read when its key is made
	Logs []string // public keys of the logs, as in their key.pub; the name in the key is the log's origin
	Log  *slog.Logger
}

// Server cosigns. It is an http.Handler.
type Server struct {
	dir      string
	lock     io.Closer
	cosigner audit.Cosigner
	logs     map[string]note.Verifier // by origin
	log      *slog.Logger
	now      func() time.Time

	mu sync.Mutex // checking and remembering are one step
}

// Open locks the folder and reads or makes the key.
func Open(o Options) (*Server, error) {
	s := &Server{dir: o.Dir, logs: map[string]note.Verifier{}, log: o.Log, now: time.Now}
	for _, key := range o.Logs {
		v, err := note.NewVerifier(strings.TrimSpace(key))
		if err != nil {
			return nil, &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("read the public key of a log, %q", key), Err: err, Hint: "give the text of its key.pub, NAME+HASH+BASE64"}
		}
		if _, twice := s.logs[v.Name()]; twice {
			return nil, api.Errorf(api.CodeUsage, "two keys for the log %s: it can have one", v.Name())
		}
		s.logs[v.Name()] = v
	}
	if len(s.logs) == 0 {
		return nil, &api.Error{Code: api.CodeUsage, Message: "start the witness: it has no log to watch", Hint: "give each log's public key with --log"}
	}
	lock, err := store.LockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.loadKey(o.Name); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Close releases the folder.
func (s *Server) Close() error { return s.lock.Close() }

// Key is the witness's public key, which logs and auditors verify cosignatures with.
func (s *Server) Key() string { return s.cosigner.Key() }

func (s *Server) loadKey(name string) error {
	b, err := os.ReadFile(filepath.Join(s.dir, fileKey))
	if errors.Is(err, fs.ErrNotExist) {
		if name == "" || strings.ContainsAny(name, "+ \t\r\n") {
			return &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("name the witness %q: it needs a name without blanks and plus signs", name), Hint: "use --name with a name like witness.example/w1"}
		}
		var skey string
		if skey, _, err = note.GenerateKey(rand.Reader, name); err != nil {
			return fmt.Errorf("make the witness key: %w", err)
		}
		b = []byte(skey + "\n")
		if err := store.ReplaceFile(s.dir, fileKey, b, 0o600); err != nil {
			return fmt.Errorf("write the witness key: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("read the witness key: %w", err)
	}
	if s.cosigner, err = audit.NewCosigner(string(b)); err != nil {
		return &api.Error{Code: api.CodeTampered, Message: "open " + filepath.Join(s.dir, fileKey), Err: err, Hint: "restore it from a backup; with a new key all logs must be told"}
	}
	return store.ReplaceFile(s.dir, fileKeyPublic, []byte(s.Key()+"\n"), 0o644)
}

// ServeHTTP answers POST /add-checkpoint, and GET /key with the public key.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/key":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, s.Key()+"\n") // the caller went away: nobody is left to tell
		return
	case r.URL.Path != "/add-checkpoint":
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send a POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := s.add(body)
	if a.status != http.StatusOK {
		s.log.Warn("refused a checkpoint", "status", a.status, "why", a.why)
	}
	if a.sized {
		w.Header().Set("Content-Type", "text/x.tlog.size")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// answer is what a submission gets.
type answer struct {
	status int
	body   string
	sized  bool   // the body is the size of the newest cosigned checkpoint
	why    string // for our own log
}

func refuse(status int, format string, args ...any) answer {
	why := fmt.Sprintf(format, args...)
	return answer{status: status, body: why + "\n", why: why}
}

// add checks a submission against what was cosigned before, remembers it, and cosigns, in the order that the specification gives.
func (s *Server) add(body []byte) answer {
	sub, err := audit.ParseSubmission(body)
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	verifier, known := s.logs[audit.SplitOrigin(sub.Checkpoint)]
	if !known {
		return refuse(http.StatusNotFound, "the log %q is not watched here", audit.SplitOrigin(sub.Checkpoint))
	}
	next, err := audit.OpenCheckpoint(sub.Checkpoint, verifier)
	if err != nil {
		return refuse(http.StatusForbidden, "%v", err)
	}
	if sub.Old > next.Size {
		return refuse(http.StatusBadRequest, "the old size %d is larger than the checkpoint's %d", sub.Old, next.Size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last, err := s.last(verifier)
	if err != nil {
		return refuse(http.StatusInternalServerError, "%v", err)
	}
	conflict := answer{status: http.StatusConflict, body: fmt.Sprintf("%d\n", last.Size), sized: true}
	if sub.Old != last.Size {
		conflict.why = fmt.Sprintf("%s: grown from %d entries, but %d were cosigned last", next.Origin, sub.Old, last.Size)
		return conflict
	}
	if next.Size == last.Size && last.Size > 0 && next.Root != last.Root {
		conflict.why = fmt.Sprintf("%s: two different logs of %d entries", next.Origin, next.Size)
		return conflict
	}
	if (last.Size == 0 || last.Size == next.Size) && len(sub.Growth) > 0 {
		return refuse(http.StatusUnprocessableEntity, "a proof from %d to %d entries is empty", sub.Old, next.Size)
	}
	if last.Size > 0 {
		if err := audit.CheckGrowth(last, next, sub.Growth); err != nil {
			return refuse(http.StatusUnprocessableEntity, "%v", err)
		}
	}
	if err := s.remember(next.Origin, sub.Checkpoint); err != nil {
		return refuse(http.StatusInternalServerError, "remember the checkpoint: %v", err)
	}
	text, _, _ := bytes.Cut(sub.Checkpoint, []byte("\n\n")) // with any extension lines
	return answer{status: http.StatusOK, body: string(s.cosigner.Cosign(string(text)+"\n", s.now()))}
}

func stateFile(origin string) string {
	return fmt.Sprintf("log-%x", sha256.Sum256([]byte(origin)))
}

// last reads the newest checkpoint that was cosigned; an empty one where there is none.
func (s *Server) last(verifier note.Verifier) (audit.Checkpoint, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, stateFile(verifier.Name())))
	if errors.Is(err, fs.ErrNotExist) {
		return audit.Checkpoint{Origin: verifier.Name()}, nil
	}
	if err != nil {
		return audit.Checkpoint{}, fmt.Errorf("read what was cosigned last: %w", err)
	}
	c, err := audit.OpenCheckpoint(b, verifier)
	if err != nil {
		return audit.Checkpoint{}, fmt.Errorf("read what was cosigned last: %w", err)
	}
	return c, nil
}

// remember makes the checkpoint durable, with the log's own signature only: it is evidence.
func (s *Server) remember(origin string, signed []byte) error {
	if old, err := os.ReadFile(filepath.Join(s.dir, stateFile(origin))); err == nil && bytes.Equal(old, signed) {
		return nil
	}
	return store.ReplaceFile(s.dir, stateFile(origin), signed, 0o600)
}
