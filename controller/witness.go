package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/witness"
)

const (
	witnessEvery = 2 * time.Second  // how often a log that grew is shown to its witness
	witnessAgain = time.Hour        // how often one that did not grow is, so that the cosignature's time stays young
	witnessRetry = 30 * time.Second // after an answer that was none
	witnessStart = 5 * time.Second  // how long a start waits for the witness
)

// WitnessOptions say whose logs a witness cosigns.
type WitnessOptions struct {
	Dir    string   // its folder; made when missing; never the data folder of a controller
	Name   string   // its name in signatures; read when its key is made
	Logs   []string // public keys of the logs, or files that hold them
	Listen string
	Log    *slog.Logger
	Ready  func(address, key string) // called once when it serves; may be nil
}

// Witness serves a witness until ctx ends: see package witness.
func Witness(ctx context.Context, o WitnessOptions) error {
	keys := make([]string, len(o.Logs))
	for i, text := range o.Logs {
		keys[i] = text
		if b, err := os.ReadFile(text); err == nil {
			keys[i] = strings.TrimSpace(string(b))
		}
	}
	server, err := witness.Open(witness.Options{Dir: o.Dir, Name: o.Name, Logs: keys, Log: o.Log})
	if err != nil {
		return err
	}
	defer server.Close()
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "listen on " + o.Listen, Err: err, Hint: "choose another --listen"}
	}
	o.Log.Info("the witness serves", "address", "http://"+l.Addr().String(), "key", server.Key(), "logs", len(keys))
	if o.Ready != nil {
		o.Ready(l.Addr().String(), server.Key())
	}
	h := &http.Server{Handler: server, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = h.Shutdown(short) // whoever still waits then is cut off; nothing is lost by it
	})
	defer stop()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the witness: %w", err)
	}
	return nil
}

// follower shows the log to its witness, off the path of everything else. A witness that cannot be reached stops nothing: the log
// is locally signed until it answers. A witness that knows a log which ours did not grow from stops everything.
type follower struct {
	client *witness.Client
	store  *store.Store
	log    *slog.Logger

	known int64 // entries that the witness cosigned last
	shown []byte
	at    time.Time // of the last answer
}

// follow asks once before the controller acts, so that an old backup is noticed even where nothing else remembers a newer one.
func follow(ctx context.Context, s *store.Store, o Options) (*follower, error) {
	client, err := witness.NewClient(o.Witness, o.WitnessKey)
	if err != nil {
		return nil, err
	}
	f := &follower{client: client, store: s, log: o.Log}
	if w, err := s.Witnessed(); err != nil {
		o.Log.Warn("read what the witness cosigned last; it is asked anew", "err", err)
	} else if w != nil && w.By == client.Name() {
		f.known = w.Size
	}
	if s.RolledBack() != nil {
		return f, nil // it must not cosign that
	}
	ctx, cancel := context.WithTimeout(ctx, witnessStart)
	defer cancel()
	if contradiction, err := f.show(ctx); err != nil {
		o.Log.Warn("the witness did not cosign; the log is locally signed for now", "witness", o.Witness, "err", err)
	} else if contradiction != "" {
		o.Log.Error(contradiction)
	}
	return f, nil
}

// run follows the log. What the witness contradicts while running pauses everything.
func (f *follower) run(ctx context.Context, shell *live.Shell) error {
	wait := witnessEvery
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = witnessEvery
		if string(f.shown) == string(f.store.Head().Checkpoint) && time.Since(f.at) < witnessAgain || f.store.RolledBack() != nil {
			continue
		}
		contradiction, err := f.show(ctx)
		if err != nil && ctx.Err() == nil {
			f.log.Warn("the witness did not cosign; asked again soon", "err", err)
			wait = witnessRetry
		}
		if contradiction == "" {
			continue
		}
		f.log.Error(contradiction)
		if err := shell.Pause(ctx, api.Pause{Owner: "backstay", Reason: contradiction + " Nothing is done until a person has compared the two and resumes."}); err != nil {
			f.log.Error("record the pause; acting is off all the same", "err", err)
		}
		wait = witnessRetry
	}
}

// show submits the newest checkpoint. contradiction is a sentence where the witness newly contradicts the log.
func (f *follower) show(ctx context.Context) (contradiction string, err error) {
	for range 3 { // at most: the size it knows was wrong, then right, then others asked in between
		head := f.store.Head()
		if f.known > head.Size {
			return f.contradict(fmt.Sprintf("The witness %s cosigned %d entries of this log, which holds %d: an older copy of the data was restored, or entries were cut off.", f.client.Name(), f.known, head.Size)), nil
		}
		sub, err := f.store.Submission(ctx, f.known)
		if err != nil {
			return "", err
		}
		cosigned, err := f.client.Ask(ctx, sub, f.store.Verifier())
		var conflict witness.Conflict
		var unproven witness.Unproven
		switch {
		case errors.As(err, &conflict) && conflict.Size != f.known:
			f.known = conflict.Size
			continue
		case errors.As(err, &conflict), errors.As(err, &unproven):
			return f.contradict(fmt.Sprintf("The witness %s cosigned %d entries that are not those of this log: the log was rewritten, or went on from an older copy.", f.client.Name(), f.known)), nil
		case err != nil:
			return "", err
		}
		if err := f.store.KeepWitnessed(cosigned, f.client.Key()); err != nil {
			return "", err
		}
		f.shown, f.at = sub.Checkpoint, time.Now()
		if w, err := f.store.Witnessed(); err == nil && w != nil {
			f.known = w.Size
		}
		return "", nil
	}
	return "", errors.New("the witness answers with another size each time: does another controller write this log?")
}

func (f *follower) contradict(text string) string {
	if f.store.Contradict(f.known, text) {
		return text
	}
	return "" // known already
}
