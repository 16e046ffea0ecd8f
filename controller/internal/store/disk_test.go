package store

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a FUSE file system in memory that writes down every change in order, so that the state after a power loss at any moment
// can be made up afterwards: what was synced is there, and of the rest whatever chance leaves. It can also fail on demand.
//
// The process that works on it is another one: page faults of memory maps would otherwise wait for ourselves.
type disk struct {
	mu    sync.Mutex
	trace []diskChange
	next  uint64 // inode

	fault func(op diskOp, path string) fault // asked before each change; nil: no faults
	heard func(line string)                  // what the working process writes into the file named notes
}

type diskOp string

const (
	opWrite    diskOp = "write"
	opTruncate diskOp = "truncate"
	opSync     diskOp = "sync"
	opCreate   diskOp = "create"
	opRemove   diskOp = "remove"
	opRename   diskOp = "rename"
	opNote     diskOp = "note" // the working process says something; no change
)

// fault is how a change fails.
type fault struct {
	errno syscall.Errno // 0: it does not
	short bool          // write only a part, and say so
}

// diskChange is one change. A failed sync is one too: what it should have made durable never will be by a later one.
type diskChange struct {
	op           diskOp
	node         uint64 // that is changed; of create, the new one
	off          int64  // of write; the size of truncate
	data         []byte // of write
	failed       bool   // sync
	dir, toDir   uint64
	name, toName string
	isDir        bool
	note         string
}

// notesFile is where the working process says what it was promised; it is not part of the disk.
const notesFile = "notes"

type diskNode struct {
	fs.Inode
	disk  *disk
	ino   uint64
	isDir bool
	mode  uint32
	data  []byte
}

var (
	_ fs.NodeGetattrer = (*diskNode)(nil)
	_ fs.NodeSetattrer = (*diskNode)(nil)
	_ fs.NodeOpener    = (*diskNode)(nil)
	_ fs.NodeReader    = (*diskNode)(nil)
	_ fs.NodeWriter    = (*diskNode)(nil)
	_ fs.NodeFsyncer   = (*diskNode)(nil)
	_ fs.NodeCreater   = (*diskNode)(nil)
	_ fs.NodeMkdirer   = (*diskNode)(nil)
	_ fs.NodeUnlinker  = (*diskNode)(nil)
	_ fs.NodeRmdirer   = (*diskNode)(nil)
	_ fs.NodeRenamer   = (*diskNode)(nil)
)

// needFUSE skips the test, loudly, where no FUSE file system can be mounted.
func needFUSE(t *testing.T) {
	t.Helper()
	_, unmount, err := mountDisk(t.TempDir())
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: power loss and storage errors need to mount a FUSE file system: /dev/fuse, and root or fusermount3 (package fuse3): %v", err)
	}
	must(t, unmount())
}

// mountDisk mounts an empty disk.
func mountDisk(dir string) (d *disk, unmount func() error, err error) {
	d = &disk{next: 1}
	root := &diskNode{disk: d, ino: 1, isDir: true, mode: 0o700}
	server, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "backstay-test", Name: "backstay", MaxWrite: 1 << 20}})
	if err != nil {
		return nil, nil, err
	}
	return d, func() error {
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // a busy machine closes files late
			if err := server.Unmount(); err == nil || time.Now().After(until) {
				return err
			}
		}
	}, nil
}

// take gives the trace so far and begins a new one.
func (d *disk) take() []diskChange {
	d.mu.Lock()
	defer d.mu.Unlock()
	trace := d.trace
	d.trace = nil
	return trace
}

func (n *diskNode) path(name string) string { return filepath.Join(n.Path(nil), name) }

// ask asks for a fault; the caller holds the lock.
func (n *diskNode) ask(op diskOp, path string) fault {
	if n.disk.fault == nil {
		return fault{}
	}
	return n.disk.fault(op, path)
}

func (n *diskNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attr(&out.Attr)
	return 0
}

func (n *diskNode) attr(out *fuse.Attr) {
	out.Mode, out.Size, out.Nlink, out.Ino, out.Blksize = n.mode|fuse.S_IFREG, uint64(len(n.data)), 1, n.ino, 4096
	if n.isDir {
		out.Mode = n.mode | fuse.S_IFDIR
	}
}

func (n *diskNode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	path := n.path("")
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if mode, set := in.GetMode(); set {
		n.mode = mode & 0o7777
	}
	if size, set := in.GetSize(); set && size != uint64(len(n.data)) {
		if f := n.ask(opTruncate, path); f.errno != 0 {
			return f.errno
		}
		n.data = resize(n.data, int64(size))
		n.disk.trace = append(n.disk.trace, diskChange{op: opTruncate, node: n.ino, off: int64(size)})
	}
	n.attr(&out.Attr)
	return 0
}

func resize(b []byte, size int64) []byte {
	if int64(len(b)) >= size {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (n *diskNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (n *diskNode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

func (n *diskNode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	path := n.path("")
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if path == notesFile {
		n.data = append(n.data, data...) // a line may come in two pieces
		for {
			line, rest, whole := bytes.Cut(n.data, []byte("\n"))
			if !whole {
				break
			}
			n.data = rest
			n.disk.trace = append(n.disk.trace, diskChange{op: opNote, note: string(line)})
			if n.disk.heard != nil {
				n.disk.heard(string(line))
			}
		}
		return uint32(len(data)), 0
	}
	switch f := n.ask(opWrite, path); {
	case f.short && len(data) > 1:
		data = data[:len(data)/2]
	case f.errno != 0:
		return 0, f.errno
	}
	n.data = overwrite(n.data, data, off)
	n.disk.trace = append(n.disk.trace, diskChange{op: opWrite, node: n.ino, off: off, data: append([]byte(nil), data...)})
	return uint32(len(data)), 0
}

// overwrite writes into a file; a hole before it reads as zeros.
func overwrite(file, data []byte, off int64) []byte {
	if end := off + int64(len(data)); end > int64(len(file)) {
		file = resize(file, end)
	}
	copy(file[off:], data)
	return file
}

func (n *diskNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	path := n.path("")
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	f := n.ask(opSync, path)
	n.disk.trace = append(n.disk.trace, diskChange{op: opSync, node: n.ino, isDir: n.isDir, failed: f.errno != 0})
	return f.errno
}

func (n *diskNode) Create(ctx context.Context, name string, _ uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, errno := n.add(ctx, name, mode, false, out)
	return child, nil, 0, errno
}

func (n *diskNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, mode, true, out)
}

func (n *diskNode) add(ctx context.Context, name string, mode uint32, isDir bool, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	path := n.path(name)
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if f := n.ask(opCreate, path); f.errno != 0 {
		return nil, f.errno
	}
	n.disk.next++
	child := &diskNode{disk: n.disk, ino: n.disk.next, isDir: isDir, mode: mode & 0o7777}
	if path != notesFile {
		n.disk.trace = append(n.disk.trace, diskChange{op: opCreate, node: child.ino, dir: n.ino, name: name, isDir: isDir})
	}
	child.attr(&out.Attr)
	return n.NewPersistentInode(ctx, child, fs.StableAttr{Mode: out.Mode & syscall.S_IFMT, Ino: child.ino}), 0
}

func (n *diskNode) Unlink(_ context.Context, name string) syscall.Errno { return n.remove(name) }

func (n *diskNode) Rmdir(_ context.Context, name string) syscall.Errno {
	if child := n.GetChild(name); child != nil && len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.remove(name)
}

func (n *diskNode) remove(name string) syscall.Errno {
	path := n.path(name)
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if f := n.ask(opRemove, path); f.errno != 0 {
		return f.errno
	}
	n.disk.trace = append(n.disk.trace, diskChange{op: opRemove, dir: n.ino, name: name})
	return 0
}

func (n *diskNode) Rename(_ context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	path := n.path(name)
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if flags != 0 {
		return syscall.EINVAL
	}
	if f := n.ask(opRename, path); f.errno != 0 {
		return f.errno
	}
	n.disk.trace = append(n.disk.trace, diskChange{op: opRename, dir: n.ino, name: name, toDir: to.(*diskNode).ino, toName: toName})
	return 0
}

// wreck makes up what is on a disk after the power failed.
type wreck struct {
	rnd    *rand.Rand
	sector int // what the disk writes as a whole, in bytes
	files  map[uint64]*wreckFile
	dirs   map[uint64]map[string]uint64
	isDir  map[uint64]bool
	names  []diskChange // of folders, not durable yet, in order
}

type wreckFile struct {
	durable []byte
	pending []diskChange
	all     []diskChange // ever, for settle
}

func newWreck(rnd *rand.Rand) *wreck {
	return &wreck{rnd: rnd, sector: []int{512, 4096}[rnd.IntN(2)], files: map[uint64]*wreckFile{}, dirs: map[uint64]map[string]uint64{1: {}}, isDir: map[uint64]bool{1: true}}
}

func (w *wreck) file(ino uint64) *wreckFile {
	if w.files[ino] == nil {
		w.files[ino] = &wreckFile{}
	}
	return w.files[ino]
}

// play takes one change to the disk.
func (w *wreck) play(c diskChange) {
	switch c.op {
	case opWrite, opTruncate:
		f := w.file(c.node)
		f.pending, f.all = append(f.pending, c), append(f.all, c)
	case opCreate, opRemove, opRename:
		w.names = append(w.names, c)
	case opSync:
		if c.isDir {
			if !c.failed {
				w.syncDir(c.node)
			}
			return
		}
		f := w.file(c.node)
		if c.failed {
			w.lose(f)
			return
		}
		for _, p := range f.pending {
			f.durable = p.apply(f.durable)
		}
		f.pending = nil
	}
}

func (c diskChange) apply(b []byte) []byte {
	if c.op == opTruncate {
		return resize(b, c.off)
	}
	return overwrite(b, c.data, c.off)
}

// syncDir makes the names in a folder durable, and everything about names that happened before: file systems keep that in order.
func (w *wreck) syncDir(dir uint64) {
	last := -1
	for i, c := range w.names {
		if c.dir == dir || c.op == opRename && c.toDir == dir {
			last = i
		}
	}
	w.applyNames(last + 1)
}

func (w *wreck) applyNames(n int) {
	for _, c := range w.names[:n] {
		switch c.op {
		case opCreate:
			w.dirs[c.dir][c.name] = c.node
			if c.isDir {
				w.isDir[c.node], w.dirs[c.node] = true, map[string]uint64{}
			}
		case opRemove:
			delete(w.dirs[c.dir], c.name)
		case opRename:
			w.dirs[c.toDir][c.toName] = w.dirs[c.dir][c.name]
			delete(w.dirs[c.dir], c.name)
		}
	}
	w.names = w.names[n:]
}

// fail cuts the power: of what was not synced, chance keeps whole writes, drops them or tears them, and keeps the first of the names.
func (w *wreck) fail() {
	w.applyNames(w.rnd.IntN(len(w.names) + 1))
	for ino := range w.next() {
		if f := w.files[ino]; f != nil {
			w.lose(f)
		}
	}
}

// lose lets chance decide what of a file's pending writes came to the disk; the rest never will. So it is after a power loss, and
// after a failed sync: the cache takes the pages for clean then.
func (w *wreck) lose(f *wreckFile) {
	keep := w.rnd.Float64() // from almost nothing to almost all
	for _, c := range f.pending {
		switch {
		case w.rnd.IntN(4) == 0 && c.op == opWrite:
			f.durable = w.tear(f.durable, c)
		case w.rnd.Float64() < keep:
			f.durable = c.apply(f.durable)
		}
	}
	f.pending = nil
}

// next counts the inodes in order, so that one seed makes one wreck.
func (w *wreck) next() uint64 {
	var highest uint64
	for ino := range w.files {
		highest = max(highest, ino)
	}
	return highest + 1
}

// tear keeps some sectors of a write.
func (w *wreck) tear(file []byte, c diskChange) []byte {
	for at := 0; at < len(c.data); {
		end := min(at+w.sector-int(c.off+int64(at))%w.sector, len(c.data))
		if w.rnd.IntN(2) == 0 {
			file = overwrite(file, c.data[at:end], c.off+int64(at))
		}
		at = end
	}
	return file
}

// materialise writes a folder of the disk into a real one.
func (w *wreck) materialise(ino uint64, dir string) error {
	for name, child := range w.dirs[ino] {
		path := filepath.Join(dir, name)
		if w.isDir[child] {
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			if err := w.materialise(child, path); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, w.file(child).durable, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// settle makes everything durable, as a machine does whose power does not fail: what a failed sync left in the cache is still read.
func (w *wreck) settle() {
	w.applyNames(len(w.names))
	for ino := range w.next() {
		if f := w.files[ino]; f != nil {
			f.durable = nil
			for _, c := range f.all {
				f.durable = c.apply(f.durable)
			}
		}
	}
}
