package controller

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/probes"
)

// border knows every credential that this process has resolved, and blots out each of them wherever it shows up: a target may echo a
// password in an error that looks like nothing at all. It also holds the key that hashes what is personal.
type border struct {
	mu       sync.Mutex
	known    sync.Map // texts that were looked at
	secrets  []string
	replacer atomic.Pointer[strings.Replacer]
	key      []byte
}

// secretLeast is the length in bytes below which a credential is too common a word to be blotted out everywhere.
const secretLeast = 6

// resolve gives a secret's text, and remembers it.
func (b *border) resolve(s api.Secret) (string, error) {
	text, err := probes.ResolveSecret(s)
	if err == nil {
		b.learn(s, text)
	}
	return text, err
}

// learn remembers a credential. Of a text in a spec only what is a password by its form: the rest is no secret.
func (b *border) learn(s api.Secret, text string) {
	if _, seen := b.known.LoadOrStore(text, true); seen {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	secrets := len(b.secrets)
	add := func(secret string) {
		if len(secret) >= secretLeast {
			b.secrets = append(b.secrets, secret)
		}
	}
	own := s.Env != "" || s.File != ""
	if u, err := url.Parse(text); err == nil && u.Scheme != "" && u.Host != "" {
		if password, has := u.User.Password(); has {
			add(password)
			add(url.QueryEscape(password))
			add(base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password)))
		}
		if own && len(u.Path) > 12 { // a webhook whose path is the credential
			add(strings.Trim(u.Path, "/"))
		}
	}
	if own {
		add(text)
		add(url.QueryEscape(text))
		if _, value, found := strings.Cut(text, " "); found { // Bearer and the like
			add(value)
		}
	}
	if len(b.secrets) > secrets {
		slices.SortStableFunc(b.secrets, func(a, b string) int { return len(b) - len(a) }) // no end of a longer one may stay
		pairs := make([]string, 0, 2*len(b.secrets))
		for _, secret := range b.secrets {
			pairs = append(pairs, secret, "xxxxx")
		}
		b.replacer.Store(strings.NewReplacer(pairs...))
	}
}

// clean blots out the credentials of this process, those that show by their form, and card numbers.
func (b *border) clean(text string) string {
	if r := b.replacer.Load(); r != nil {
		text = r.Replace(text)
	}
	if head, cut := strings.CutSuffix(text, " ..."); cut {
		text = b.cleanEnd(head) + " ..."
	}
	return api.Redact(text)
}

// cleanEnd blots out the beginning of a credential at the end of a text that was cut there.
func (b *border) cleanEnd(text string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, secret := range b.secrets {
		for n := len(secret) - 1; n >= secretLeast; n-- {
			if head, is := strings.CutSuffix(text, secret[:n]); is {
				return head + "xxxxx"
			}
		}
	}
	return text
}

// personal hashes a key that names a person: p: and 64 bits of HMAC-SHA256. The same key gives the same hash, as long as the
// folder's key is the same, so one customer can be followed through the log without being named.
func (b *border) personal(key string) string {
	mac := hmac.New(sha256.New, b.key)
	mac.Write([]byte(key))
	return "p:" + hex.EncodeToString(mac.Sum(nil)[:8])
}

func (b *border) live() live.Border { return live.Border{Clean: b.clean, Personal: b.personal} }

// personalKeyFile holds the key of personal hashes. Whoever has it can find out whether a hash is that of a name they guess;
// without it nobody can, also we cannot follow anybody any more.
const personalKeyFile = "personal-key"

// loadPersonalKey reads the key, or makes one.
func loadPersonalKey(dir string, make bool) ([]byte, error) {
	path := filepath.Join(dir, personalKeyFile)
	b, err := os.ReadFile(path)
	if err == nil {
		key, err := hex.DecodeString(strings.TrimSpace(string(b)))
		if err != nil || len(key) < 32 {
			return nil, &api.Error{Code: api.CodeInvalid, Message: "read the key of personal hashes " + path + ": it is damaged",
				Hint: "restore it from a backup; with a new one nobody can be followed across the change"}
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) || !make {
		return nil, fmt.Errorf("read the key of personal hashes: %w", err)
	}
	key := [32]byte{}
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("make a key of personal hashes: %w", err)
	}
	if err := os.WriteFile(path, []byte(hex.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the key of personal hashes: %w", err)
	}
	return key[:], nil
}

// AuditPersonal gives the hash under which a data folder keeps a personal key.
func AuditPersonal(dir, name string) (string, error) {
	key, err := loadPersonalKey(dir, false)
	if err != nil {
		return "", &api.Error{Code: api.CodeNotFound, Message: err.Error(), Hint: "name the data folder of backstay run with --data or BACKSTAY_DATA"}
	}
	return (&border{key: key}).personal(name), nil
}

// logger lets everything that is logged pass the border.
func (b *border) logger(log *slog.Logger) *slog.Logger {
	return slog.New(cleanHandler{log.Handler(), b.clean})
}

// cleanHandler is a slog.Handler whose texts are cleaned.
type cleanHandler struct {
	slog.Handler
	clean func(string) string
}

// Handle cleans a record and hands it on.
func (h cleanHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.clean(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// WithAttrs cleans attributes once.
func (h cleanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = h.attr(a)
	}
	return cleanHandler{h.Handler.WithAttrs(out), h.clean}
}

// WithGroup keeps cleaning within a group.
func (h cleanHandler) WithGroup(name string) slog.Handler {
	return cleanHandler{h.Handler.WithGroup(name), h.clean}
}

func (h cleanHandler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, h.clean(v.String()))
	case slog.KindGroup:
		var group []any
		for _, g := range v.Group() {
			group = append(group, h.attr(g))
		}
		return slog.Group(a.Key, group...)
	case slog.KindAny:
		return slog.String(a.Key, h.clean(fmt.Sprint(v.Any())))
	}
	return a
}
