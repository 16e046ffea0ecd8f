package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// crime is one log with its history, as somebody finds it who owns its folder.
type crime struct {
	size       int64
	files      map[string][]byte // of the data folder
	older      map[string][]byte // the same folder at an earlier time
	key        string            // what an auditor copied when the log began
	kept       []byte            // a checkpoint that was copied elsewhere, as of the end
	keptOlder  []byte            // and an earlier one
	signerText string            // the private key
	text       string            // everything that can be read out of the database
}

const crimeSize = 64

// newCrime makes the log: a bit of everything in few pages.
func newCrime(t *testing.T) *crime {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	grow := func(from, to int) []byte {
		s := open(t, dir)
		for i := from; i < to; i += 4 {
			_, err := s.Append(ctx, Batch{Entries: samples(i, 4), Incidents: []api.Incident{sampleIncident(i / 10)}, Remediations: []api.Remediation{sampleRemediation(i / 4)}})
			must(t, err)
			must(t, s.Ledger().Put(ctx, LedgerRow{Scope: "replay/captures.dlq", Key: fmt.Sprintf("m%d", i), State: "done", At: t0}))
		}
		must(t, s.SaveSnapshot(ctx, int64(to), bytes.Repeat([]byte("state "), 50)))
		head := s.Head().Checkpoint
		must(t, s.Close())
		return head
	}
	c := &crime{size: crimeSize}
	c.keptOlder = grow(0, crimeSize/2)
	c.older = readFolder(t, dir)
	c.kept = grow(crimeSize/2, crimeSize)
	c.files = readFolder(t, dir)
	text, err := dump(dir)
	must(t, err)
	c.text = text
	c.key, c.signerText = string(c.files[fileKeyPublic]), strings.TrimSpace(string(c.files[fileKey]))
	return c
}

func readFolder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{fileJournal, fileKeyPublic, fileKey, fileCheckpoint} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		files[name] = b
	}
	return files
}

// scene is one copy of the crime's folder, for one run.
type scene struct {
	*crime
	dir string
	rnd *rand.Rand
}

func (s *scene) lay(files map[string][]byte) error {
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sql changes the database as somebody with a SQLite shell would.
func (s *scene) sql(change func(tx *sql.Tx) error) error {
	name, err := dsn(filepath.Join(s.dir, fileJournal), url.Values{}, "synchronous(0)", "journal_mode(MEMORY)")
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := change(tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

func (s *scene) exec(query string, args ...any) error {
	return s.sql(func(tx *sql.Tx) error {
		r, err := tx.Exec(query, args...)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("%s changed nothing: %w", query, err)
		}
		return nil
	})
}

func (s *scene) seq() int64 { return s.rnd.Int64N(s.size) }

// resign rewrites the log from some entry on and signs it anew with a key: every hash, the head and the published checkpoint fit
// together afterwards. It is the best that somebody with the key can do.
func (s *scene) resign(skey string, rewrite func(seq int64, body []byte) []byte) error {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	return s.sql(func(tx *sql.Tx) error {
		var tree audit.Tree
		for seq := range s.size {
			var body []byte
			if err := tx.QueryRow("SELECT body FROM entries WHERE seq = ?", seq).Scan(&body); err != nil {
				return err
			}
			body = rewrite(seq, body)
			ix, err := audit.ReadIndex(body)
			if err != nil {
				return err
			}
			var stored []byte
			for _, h := range tree.Append(audit.Leaf(body), nil) {
				stored = append(stored, h[:]...)
			}
			if _, err := tx.Exec("UPDATE entries SET at = ?, kind = ?, incident = ?, remediation = ?, hashes = ?, body = ? WHERE seq = ?",
				ix.At, ix.Kind, orNull(ix.Incident), orNull(ix.Remediation), stored, body, seq); err != nil {
				return err
			}
		}
		return s.signHead(tx, signer, &tree)
	})
}

// signHead signs a head over the tree and over the rows as they are, and publishes it.
func (s *scene) signHead(tx *sql.Tx, signer note.Signer, tree *audit.Tree) error {
	var rows int64
	var sum []byte
	if err := tx.QueryRow("SELECT rows, state FROM log_head").Scan(&rows, &sum); err != nil {
		return err
	}
	parsed, err := audit.ParseSum(sum)
	if err != nil {
		return err
	}
	signed, err := audit.Checkpoint{Origin: signer.Name(), Size: tree.Size(), Root: tree.Root()}.Sign(signer)
	if err != nil {
		return err
	}
	state, err := audit.State{Origin: signer.Name(), Size: tree.Size(), Rows: rows, Digest: parsed.Digest()}.Sign(signer)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE log_head SET size = ?, checkpoint = ?, state_note = ?", tree.Size(), signed, state); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, fileCheckpoint), signed, 0o600)
}

// lie changes what one entry says, in the same number of bytes.
func (s *scene) lie(seq int64) func(int64, []byte) []byte {
	return func(at int64, body []byte) []byte {
		if at != seq {
			return body
		}
		return bytes.Replace(body, []byte("standby"), []byte("primary"), 1)
	}
}

// deed is one way to tamper. Needs says what an auditor must hold to find it: nothing beyond the folder and the copied key, or a
// checkpoint that was kept elsewhere.
type deed struct {
	name  string
	needs needs
	do    func(s *scene) error
}

type needs int

const (
	needsFolder  needs = iota // the published checkpoint in the folder is enough
	needsKey                  // the public key must have been copied before
	needsKept                 // a checkpoint must have been kept elsewhere, or a witness asked
	needsNothing              // it is no tampering
)

var entryColumns = []string{"at = at + 1", "kind = 'person.decided'", "incident = NULL", "incident = 'inc-x'", "remediation = 'rem-x'", "hashes = randomblob(length(hashes))",
	"body = CAST(replace(CAST(body AS TEXT), 'standby', 'primary') AS BLOB)", "body = x''", "body = CAST(body || ' ' AS BLOB)", "body = x'7b7d'"}

var deeds = []deed{
	{"edit", needsFolder, func(s *scene) error {
		return s.exec("UPDATE entries SET "+entryColumns[s.rnd.IntN(len(entryColumns))]+" WHERE seq = ?", s.seq())
	}},
	{"edit with its hash", needsFolder, func(s *scene) error {
		seq := s.seq()
		return s.sql(func(tx *sql.Tx) error {
			var body, hashes []byte
			if err := tx.QueryRow("SELECT body, hashes FROM entries WHERE seq = ?", seq).Scan(&body, &hashes); err != nil {
				return err
			}
			body = s.lie(seq)(seq, body)
			leaf := audit.Leaf(body)
			_, err := tx.Exec("UPDATE entries SET body = ?, hashes = ? WHERE seq = ?", body, append(leaf[:], hashes[tlog.HashSize:]...), seq)
			return err
		})
	}},
	{"edit a view", needsFolder, func(s *scene) error {
		return s.exec([]string{"UPDATE incidents SET body = x'7b7d' WHERE id = (SELECT id FROM incidents ORDER BY random() LIMIT 1)",
			"UPDATE remediations SET incident = 'inc-77' WHERE id = (SELECT id FROM remediations ORDER BY random() LIMIT 1)",
			"UPDATE ledger SET state = 'intended' WHERE key = (SELECT key FROM ledger ORDER BY random() LIMIT 1)",
			"DELETE FROM ledger WHERE key = (SELECT key FROM ledger ORDER BY random() LIMIT 1)",
			"UPDATE snapshots SET body = x'00'"}[s.rnd.IntN(5)])
	}},
	{"flip a bit of the file", needsFolder, func(s *scene) error {
		b := bytes.Clone(s.files[fileJournal])
		for { // until it is a bit that anybody can read: files hold left-overs of what was there before
			copy(b, s.files[fileJournal])
			b[s.rnd.IntN(len(b))] ^= 1 << s.rnd.IntN(8)
			if err := os.WriteFile(filepath.Join(s.dir, fileJournal), b, 0o600); err != nil {
				return err
			}
			if now, err := dump(s.dir); err != nil || now != s.text {
				return nil
			}
		}
	}},
	{"delete", needsFolder, func(s *scene) error {
		from := s.seq()
		return s.exec("DELETE FROM entries WHERE seq BETWEEN ? AND ?", from, from+s.rnd.Int64N(4))
	}},
	{"insert", needsFolder, func(s *scene) error {
		at, from := s.seq(), s.seq()
		return s.sql(func(tx *sql.Tx) error {
			for seq := s.size - 1; seq >= at; seq-- {
				if _, err := tx.Exec("UPDATE entries SET seq = ? WHERE seq = ?", seq+1, seq); err != nil {
					return err
				}
			}
			if from >= at {
				from++
			}
			_, err := tx.Exec("INSERT INTO entries SELECT ?, at, kind, incident, remediation, hashes, body FROM entries WHERE seq = ?", at, from)
			return err
		})
	}},
	{"swap", needsFolder, func(s *scene) error {
		a := s.seq()
		b := (a + 1 + s.rnd.Int64N(s.size-1)) % s.size
		return s.sql(func(tx *sql.Tx) error {
			for _, m := range [][2]int64{{a, 1000}, {b, a}, {1000, b}} {
				if _, err := tx.Exec("UPDATE entries SET seq = ? WHERE seq = ?", m[1], m[0]); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"swap with numbers and hashes", needsFolder, func(s *scene) error {
		a := s.rnd.Int64N(s.size/2) * 2 // both are leaves without a completed subtree of their own, or with one
		b := (a + 2) % s.size
		return s.sql(func(tx *sql.Tx) error {
			var bodies [2][]byte
			for i, seq := range []int64{a, b} {
				if err := tx.QueryRow("SELECT body FROM entries WHERE seq = ?", seq).Scan(&bodies[i]); err != nil {
					return err
				}
			}
			for i, seq := range []int64{b, a} {
				body := audit.WithSeq(bodies[i], seq)
				ix, err := audit.ReadIndex(body)
				if err != nil {
					return err
				}
				leaf := audit.Leaf(body)
				if _, err := tx.Exec("UPDATE entries SET at = ?, incident = ?, remediation = ?, body = ?, hashes = CAST(? || substr(hashes, 33) AS BLOB) WHERE seq = ?", ix.At, ix.Incident, ix.Remediation, body, leaf[:], seq); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"truncate", needsFolder, func(s *scene) error { return s.exec("DELETE FROM entries WHERE seq >= ?", s.seq()) }},
	{"truncate with the head's size", needsFolder, func(s *scene) error {
		size := s.seq()
		return s.sql(func(tx *sql.Tx) error {
			if _, err := tx.Exec("DELETE FROM entries WHERE seq >= ?", size); err != nil {
				return err
			}
			_, err := tx.Exec("UPDATE log_head SET size = ?", size)
			return err
		})
	}},
	{"roll back the database", needsFolder, func(s *scene) error {
		return os.WriteFile(filepath.Join(s.dir, fileJournal), s.older[fileJournal], 0o600)
	}},
	{"roll back the folder", needsKept, func(s *scene) error { return s.lay(s.older) }},
	{"re-sign with another key", needsKey, func(s *scene) error {
		skey, vkey, err := note.GenerateKey(nil, "backstay.test/log")
		if err != nil {
			return err
		}
		if err := s.lay(map[string][]byte{fileKey: []byte(skey + "\n"), fileKeyPublic: []byte(vkey + "\n")}); err != nil {
			return err
		}
		return s.resign(skey, s.lie(s.seq()))
	}},
	{"re-sign with the right key", needsKept, func(s *scene) error { return s.resign(s.signerText, s.lie(s.seq())) }},
	{"split view", needsKept, func(s *scene) error { // the older log goes on in another way, and longer, through the store itself
		if err := s.lay(s.older); err != nil {
			return err
		}
		other, err := Open(context.Background(), Options{Dir: s.dir})
		if err != nil {
			return err
		}
		if _, err := other.Append(context.Background(), Batch{Entries: samples(1000+s.rnd.IntN(1000), crimeSize/2+s.rnd.IntN(3))}); err != nil {
			return err
		}
		if err := other.Close(); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(s.dir, TilesFolder))
	}},
	{"untouched", needsNothing, func(s *scene) error { return nil }},
	{"untouched, opened and closed", needsNothing, func(s *scene) error {
		st, err := Open(context.Background(), Options{Dir: s.dir})
		if err != nil {
			return err
		}
		return st.Close()
	}},
	{"grown", needsNothing, func(s *scene) error {
		st, err := Open(context.Background(), Options{Dir: s.dir})
		if err != nil {
			return err
		}
		if _, err := st.Append(context.Background(), Batch{Entries: samples(500, 1+s.rnd.IntN(9))}); err != nil {
			return err
		}
		return st.Close()
	}},
	{"packed anew", needsNothing, func(s *scene) error {
		db, err := sql.Open("sqlite", filepath.Join(s.dir, fileJournal))
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec("VACUUM")
		return err
	}},
}

// TestTampering tampers in every way that is known, and verifies as an auditor would who copied the public key and a checkpoint
// beforehand: everything is found, and copies that nobody tampered with are not accused.
//
// Controls: SQLite's own check alone must miss most of it; and without the kept checkpoint, exactly that must be missed which only a
// kept checkpoint or a witness can find. That limit is the documented one.
func TestTampering(t *testing.T) {
	s := newSuite(t, "tampering", "100 % found, 0 false alarms", 2_000, 100_000)
	c := newCrime(t)
	folder := quickDir(t)
	var mu sync.Mutex
	found, sound, control, controlMissed, limit := 0, 0, 0, 0, 0
	s.eachRun(func(run int, rnd *rand.Rand) {
		dir := filepath.Join(folder, fmt.Sprint(run))
		must(t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		sc := &scene{crime: c, dir: dir, rnd: rnd}
		must(t, sc.lay(c.files))
		d := deeds[rnd.IntN(len(deeds))]
		if err := d.do(sc); err != nil {
			s.fail(run, "%s: %v", d.name, err)
			return
		}
		whole := VerifyOptions{Key: c.key, Published: [][]byte{c.keptOlder, c.kept}}
		r, err := VerifyFolder(context.Background(), dir, whole)
		if err != nil {
			s.fail(run, "%s: verify: %v", d.name, err)
			return
		}
		if tampered := d.needs != needsNothing; r.OK() == tampered {
			s.fail(run, "%s: tampered with %v, found %v", d.name, tampered, r.Damages)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if d.needs == needsNothing {
			sound++
			return
		}
		found++
		if rnd.IntN(10) > 0 {
			return
		}
		control++
		if looksSound(dir) {
			controlMissed++
		}
		without, err := VerifyFolder(context.Background(), dir, VerifyOptions{Key: c.key})
		if missed := err == nil && without.OK(); missed != (d.needs == needsKept) {
			s.fail(run, "%s without a kept checkpoint: missed %v, %v %v", d.name, missed, without.Damages, err)
		} else if missed {
			limit++
		}
		if d.needs == needsKey {
			if r, err := VerifyFolder(context.Background(), dir, VerifyOptions{}); err != nil || !r.OK() {
				s.fail(run, "%s: without a copied key it should look sound: %v %v", d.name, r.Damages, err)
			}
		}
	})
	if found == 0 || sound == 0 || controlMissed == 0 || limit == 0 {
		t.Errorf("CONTROL: found %d, sound %d, SQLite's own check missed %d of %d, only a kept checkpoint found %d: none may be 0", found, sound, controlMissed, control, limit)
	}
	s.report("%d found, %d sound copies not accused; control: SQLite's own check missed %d of %d; without a kept checkpoint %d would have been missed", found, sound, controlMissed, control, limit)
}

// looksSound asks SQLite alone.
func looksSound(dir string) bool {
	db, err := sql.Open("sqlite", filepath.Join(dir, fileJournal))
	if err != nil {
		return false
	}
	defer db.Close()
	var answer string
	return db.QueryRow("PRAGMA integrity_check").Scan(&answer) == nil && answer == "ok"
}
