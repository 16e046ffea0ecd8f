package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// TilesFolder is the folder within the data folder that holds the log as c2sp.org/tlog-tiles publishes it.
const TilesFolder = "tiles"

const (
	tilesEvery = time.Second     // how often they follow the log
	tilesClose = 3 * time.Second // how long closing waits for them; what is missing then is made at the next start
)

// tiler publishes the log as static files, off the commit path: tiles of hashes, bundles of entries, then the checkpoint that
// needs them. Full ones never change. A partial one stays until the full one is there, so whoever holds an older checkpoint finds
// what that needs. Everything is made from the journal, so a missing file is made again at the next start.
type tiler struct {
	store  *Store
	dir    string
	newest atomic.Pointer[[]byte] // checkpoint
	wake   chan struct{}
	stop   context.CancelFunc
	quit   chan struct{}
	over   chan struct{}
	failed atomic.Pointer[error] // of the last round; nil when it went well

	mu   sync.Mutex // of the published files
	size int64      // entries that the published files hold; -1 before they were looked through
}

func newTiler(s *Store) *tiler {
	ctx, cancel := context.WithCancel(context.Background())
	t := &tiler{store: s, dir: filepath.Join(s.dir, TilesFolder), wake: make(chan struct{}, 1), stop: cancel, quit: make(chan struct{}), over: make(chan struct{}), size: -1}
	go t.run(ctx)
	return t
}

// offer hands over a checkpoint and never waits.
func (t *tiler) offer(checkpoint []byte) {
	t.newest.Store(&checkpoint)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tiler) run(ctx context.Context) {
	defer close(t.over)
	for closing := false; ; {
		select { // first a moment's rest: a start has more urgent work, and many commits share a round
		case <-time.After(tilesEvery):
		case <-t.quit:
			closing = true
		}
		if !closing {
			select {
			case <-t.wake:
			case <-t.quit:
				closing = true
			}
		}
		if newest := t.newest.Swap(nil); newest != nil {
			t.round(ctx, *newest)
		}
		if closing {
			return
		}
	}
}

func (t *tiler) round(ctx context.Context, checkpoint []byte) {
	t.mu.Lock()
	err := t.publish(ctx, checkpoint)
	t.mu.Unlock()
	if err == nil {
		t.failed.Store(nil)
		return
	}
	if ctx.Err() == nil {
		t.failed.Store(&err)
	}
}

// close publishes the newest checkpoint where that is soon done.
func (t *tiler) close() error {
	close(t.quit)
	late := time.AfterFunc(tilesClose, t.stop)
	<-t.over
	late.Stop()
	t.stop()
	return t.err()
}

func (t *tiler) err() error {
	if failed := t.failed.Load(); failed != nil {
		return explain(*failed, "publish the log as tiles", t.dir)
	}
	return nil
}

// publish writes what the checkpoint needs and is not there, then the checkpoint.
func (t *tiler) publish(ctx context.Context, checkpoint []byte) error {
	c, err := audit.OpenCheckpoint(checkpoint, t.store.verifier)
	if err != nil {
		return err
	}
	from := max(t.size, 0)
	todo := audit.Tiles(from, c.Size)
	if t.size < 0 {
		todo = t.missing(todo)
	}
	dirs := map[string]bool{}
	for _, tile := range todo {
		data, err := t.make(ctx, tile)
		if err != nil {
			return err
		}
		file := filepath.Join(t.dir, filepath.FromSlash(tile.Path()))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := ReplaceFile(filepath.Dir(file), filepath.Base(file), data, 0o600); err != nil {
			return err
		}
		dirs[path.Dir(tile.Path())] = true
	}
	if err := t.syncParents(dirs); err != nil {
		return err
	}
	if err := t.checkpoint(checkpoint); err != nil {
		return err
	}
	for _, tile := range todo {
		if tile.Width == audit.TileWidth {
			if err := os.RemoveAll(filepath.Join(t.dir, filepath.FromSlash(tile.Path())+".p")); err != nil {
				return err
			}
		}
	}
	t.size = c.Size
	return nil
}

// missing keeps the tiles that are not there, or not as long as they must be.
func (t *tiler) missing(all []audit.Tile) (out []audit.Tile) {
	for _, tile := range all {
		info, err := os.Stat(filepath.Join(t.dir, filepath.FromSlash(tile.Path())))
		if err != nil || !info.Mode().IsRegular() || tile.Level != audit.BundleLevel && info.Size() != int64(tile.Width)*tlog.HashSize {
			out = append(out, tile)
		}
	}
	return out
}

func (t *tiler) make(ctx context.Context, tile audit.Tile) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if tile.Level > 0 {
		return audit.HashTile(tile, storedHashes(ctx, t.store.read))
	}
	from := tile.N * audit.TileWidth
	var data []byte
	next := from
	err := t.store.eachBody(ctx, Query{From: from, To: from + int64(tile.Width)}, func(seq int64, body []byte) error {
		if seq != next {
			return tampered("read the log: entry %d is missing", next)
		}
		next++
		if tile.Level == audit.BundleLevel {
			data = audit.AppendToBundle(data, body)
			return nil
		}
		leaf := audit.Leaf(body)
		data = append(data, leaf[:]...)
		return nil
	})
	if err == nil && next != from+int64(tile.Width) {
		err = tampered("read the log: entry %d is missing", next)
	}
	return data, err
}

// syncParents makes the folders above new files durable; the files' own folders are by then.
func (t *tiler) syncParents(dirs map[string]bool) error {
	above := map[string]bool{}
	for dir := range dirs {
		for dir != "." {
			dir = path.Dir(dir)
			above[dir] = true
		}
	}
	for dir := range above {
		if err := syncDir(filepath.Join(t.dir, filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint publishes it, or keeps the one there where that says the same with more signatures.
func (t *tiler) checkpoint(signed []byte) error {
	if old, err := os.ReadFile(filepath.Join(t.dir, fileCheckpoint)); err == nil && sameText(old, signed) {
		return nil
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	return ReplaceFile(t.dir, fileCheckpoint, signed, 0o600)
}

// witnessed puts a cosigned checkpoint in the place of the one that says the same.
func (t *tiler) witnessed(signed []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, err := os.ReadFile(filepath.Join(t.dir, fileCheckpoint))
	if err != nil || !sameText(old, signed) {
		return nil // the log has gone on
	}
	return ReplaceFile(t.dir, fileCheckpoint, signed, 0o600)
}

// setAside renames what contradicts the log, where it is there, and forgets what is published.
func (t *tiler) setAside(path, to string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = -1
	if err := os.Rename(path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sameText compares what is signed in two notes.
func sameText(a, b []byte) bool {
	textA, _, foundA := bytes.Cut(a, []byte("\n\n"))
	textB, _, foundB := bytes.Cut(b, []byte("\n\n"))
	return foundA && foundB && bytes.Equal(textA, textB)
}

// Published reads the checkpoint and the tiles of the log by their path, such as checkpoint, tile/0/017.p/42 or
// tile/entries/x001/234. What is not published, or no such path, is api.CodeNotFound.
func (r *Reader) Published(name string) ([]byte, error) {
	if name != fileCheckpoint {
		if _, err := audit.ParseTilePath(name); err != nil {
			return nil, &api.Error{Code: api.CodeNotFound, Message: "read the published log", Err: err, Hint: "c2sp.org/tlog-tiles says how tiles are named"}
		}
	}
	b, err := os.ReadFile(filepath.Join(r.dir, TilesFolder, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("read the published log: there is no %s", name), Hint: "tiles/checkpoint says how long the log is; it is published within seconds"}
	}
	return b, explain(err, "read the published log", r.dir)
}
