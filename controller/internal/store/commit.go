package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// groupMax bounds the entries of one commit, so that no caller waits for long behind others.
const groupMax = 4096

// pending is an entry that has no number yet.
type pending struct {
	body  []byte
	index audit.Index
}

// request is what one caller wants made durable.
type request struct {
	entries []pending
	changes []change
	done    chan result
}

type result struct {
	first int64
	err   error
}

// state is the sum over all rows that change in place.
type state struct {
	sum  audit.Sum
	rows int64
}

// committer owns the writing connection. It commits what is queued, as one, again and again.
type committer struct {
	store *Store
	queue chan request
	quit  chan struct{} // closed by stop
	over  chan struct{} // closed when run has ended
	once  sync.Once

	conn   *sql.Conn
	stmts  []*sql.Stmt // all of them
	size   *sql.Stmt
	entry  *sql.Stmt
	entry8 *sql.Stmt // eight rows at once: fewer calls, same rows
	headUp *sql.Stmt
	rows   map[*table]rowWriter

	tree   audit.Tree
	state  state
	now    atomic.Pointer[Head]
	failed atomic.Pointer[api.Error] // why nothing is written any more

	running atomic.Bool
}

func (c *committer) head() Head { return *c.now.Load() }

// submit queues a request and waits for its commit.
func (c *committer) submit(ctx context.Context, r request) (int64, error) {
	if err := c.failed.Load(); err != nil {
		return 0, err
	}
	r.done = make(chan result, 1)
	select {
	case c.queue <- r:
	case <-ctx.Done():
		return 0, api.Errorf(api.CodeUnavailable, "append to the log: nothing was written: %w", ctx.Err())
	case <-c.over:
		return 0, c.refusal()
	}
	select {
	case res := <-r.done:
		return res.first, res.err
	case <-c.over:
	}
	select { // run may have answered just before it ended
	case res := <-r.done:
		return res.first, res.err
	default:
		return 0, c.refusal()
	}
}

func (c *committer) refusal() error {
	if err := c.failed.Load(); err != nil {
		return err
	}
	return api.Errorf(api.CodeUnavailable, "append to the log: the store is closed")
}

func (c *committer) start() {
	c.running.Store(true)
	go c.run()
}

func (c *committer) run() {
	defer close(c.over)
	for {
		select {
		case r := <-c.queue:
			c.commitGroup(c.gather(r))
		case <-c.quit:
			for {
				select {
				case r := <-c.queue:
					c.commitGroup(c.gather(r))
				default:
					return
				}
			}
		}
	}
}

// gather takes what else is queued right now.
func (c *committer) gather(first request) []request {
	group, n := []request{first}, len(first.entries)+len(first.changes)
	for n < groupMax {
		select {
		case r := <-c.queue:
			group = append(group, r)
			n += len(r.entries) + len(r.changes)
		default:
			return group
		}
	}
	return group
}

func (c *committer) commitGroup(group []request) {
	first := c.tree.Size()
	err := error(nil)
	if failed := c.failed.Load(); failed != nil {
		err = failed
	} else if err = c.commit(context.Background(), group); err != nil {
		err = c.poison(err)
	}
	for _, r := range group {
		r.done <- result{first, err}
		first += int64(len(r.entries))
	}
}

// poison refuses everything from now on.
func (c *committer) poison(cause error) error {
	err := explain(cause, "commit to the log", c.store.dir)
	var coded *api.Error
	if !errors.As(err, &coded) {
		coded = api.Errorf(api.CodeInternal, "commit to the log: %w", err)
	}
	c.failed.CompareAndSwap(nil, coded)
	return c.failed.Load()
}

// commit makes a group durable in one transaction, then moves the tree and the head on.
func (c *committer) commit(ctx context.Context, group []request) error {
	if _, err := c.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	tree, st := c.tree.Clone(), c.state
	head, err := c.write(ctx, group, &tree, &st)
	if err == nil {
		_, err = c.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = c.conn.ExecContext(ctx, "ROLLBACK") // the first error says what happened; after it nothing is written anyway
		return err
	}
	c.tree, c.state = tree, st
	c.now.Store(&head)
	if c.store.RolledBack() == nil {
		c.store.publisher.offer(head.Checkpoint)
		c.store.tiler.offer(head.Checkpoint)
	}
	return nil
}

func (c *committer) write(ctx context.Context, group []request, tree *audit.Tree, st *state) (Head, error) {
	var size int64
	if err := c.size.QueryRowContext(ctx).Scan(&size); err != nil {
		return Head{}, err
	}
	if size != tree.Size() {
		return Head{}, tampered("commit to the log: somebody else moved its head from %d to %d entries", tree.Size(), size)
	}
	if err := c.writeEntries(ctx, group, tree); err != nil {
		return Head{}, err
	}
	for _, r := range group {
		for _, ch := range r.changes {
			if err := c.rows[ch.table].apply(ctx, ch, st); err != nil {
				return Head{}, err
			}
		}
	}
	return c.writeHead(ctx, tree, st)
}

func (c *committer) writeEntries(ctx context.Context, group []request, tree *audit.Tree) error {
	const columns, at1 = 7, 8
	args := make([]any, 0, columns*at1)
	var hashes []tlog.Hash
	for _, r := range group {
		for _, e := range r.entries {
			seq := tree.Size()
			body := audit.WithSeq(e.body, seq)
			hashes = tree.Append(audit.Leaf(body), hashes[:0])
			stored := make([]byte, 0, len(hashes)*tlog.HashSize)
			for i := range hashes {
				stored = append(stored, hashes[i][:]...)
			}
			args = append(args, seq, e.index.At, e.index.Kind, orNull(e.index.Incident), orNull(e.index.Remediation), stored, body)
			if len(args) == cap(args) {
				if _, err := c.entry8.ExecContext(ctx, args...); err != nil {
					return err
				}
				args = args[:0]
			}
		}
	}
	for ; len(args) > 0; args = args[columns:] {
		if _, err := c.entry.ExecContext(ctx, args[:columns]...); err != nil {
			return err
		}
	}
	return nil
}

// writeHead signs what is now true and writes the head row.
func (c *committer) writeHead(ctx context.Context, tree *audit.Tree, st *state) (Head, error) {
	origin := c.store.verifier.Name()
	size := tree.Size()
	signed, err := audit.Checkpoint{Origin: origin, Size: size, Root: tree.Root()}.Sign(c.store.signer)
	if err != nil {
		return Head{}, err
	}
	note, err := audit.State{Origin: origin, Size: size, Rows: st.rows, Digest: st.sum.Digest()}.Sign(c.store.signer)
	if err != nil {
		return Head{}, err
	}
	if _, err := c.headUp.ExecContext(ctx, size, signed, st.rows, st.sum.Bytes(), note); err != nil {
		return Head{}, err
	}
	h := Head{Origin: origin, Size: size, Checkpoint: signed}
	if old := c.now.Load(); old != nil {
		h.Key = old.Key
	}
	return h, nil
}

// stop lets what is queued be committed and ends the goroutine.
func (c *committer) stop() {
	c.once.Do(func() { close(c.quit) })
	if c.running.Load() {
		<-c.over
	}
	c.release()
}

// release gives the connection back. Its statements must go first, or the database stays open and its WAL stays behind.
func (c *committer) release() {
	for _, stmt := range c.stmts {
		stmt.Close()
	}
	if c.conn != nil {
		c.conn.Close()
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
