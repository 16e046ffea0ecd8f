package probes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"
)

const (
	filesMax      = 20_000 // in one folder
	hashBytesMax  = 64 << 20
	ledgerMax     = 10_000 // contents remembered
	hashChunkSize = 256 << 10
)

// fileState is what a file-drop probe remembers between looks; only one look at a time touches it.
type fileState struct {
	since   time.Time // of the first look
	arrived time.Time // of the newest file that has arrived
	files   map[string]fileSeen
	ledger  map[[sha256.Size]byte]string // content to the name that it first came under
	order   [][sha256.Size]byte          // of the ledger, oldest first
}

// fileSeen is a file as the look before saw it.
type fileSeen struct {
	size    int64
	changed time.Time
	came    time.Time // when it was first seen so; its own time at the first look of all. Senders may keep old times.
	whole   bool      // it stood still
	hashed  bool
	twin    string // name under which its content had come before
}

// sight is what one look saw.
type sight struct {
	count      int
	oldest     time.Time
	newest     time.Time
	oldestName string
	stale      string // a temporary file that stood still for too long
	staleAge   time.Duration
	small      string
	duplicate  string
}

func (s *sight) age(of, now time.Time) time.Duration {
	if s.count == 0 {
		return 0
	}
	return max(now.Sub(of), 0)
}

// scan looks into the folder, and the archive.
func (s *fileState) scan(ctx context.Context, w *FileDropParams, now time.Time) (*sight, error) {
	root, entries, err := listFolder(w.Folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if s.since.IsZero() {
		s.since = now
		s.ledger = map[[sha256.Size]byte]string{}
	}
	if deadline, ok := ctx.Deadline(); ok { // contents are compared in half of the time; what is left over waits for the next look
		half, cancel := context.WithDeadline(ctx, now.Add(deadline.Sub(now)/2))
		defer cancel()
		ctx = half
	}
	seen := &sight{}
	files := make(map[string]fileSeen, len(entries))
	infos, err := oldestFirst(entries)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		name := info.Name()
		switch {
		case !info.Mode().IsRegular():
		case matchesAny(w.Temporary, name):
			if age := now.Sub(info.ModTime()); age > w.StaleAfter.Duration && age > seen.staleAge {
				seen.stale, seen.staleAge = name, age
			}
		case matchesAny([]string{w.Pattern}, name):
			file := s.note(name, info, now)
			if file.whole {
				if err := s.whole(ctx, root, w, name, &file, seen); err != nil {
					return nil, err
				}
			}
			files[name] = file
		}
	}
	s.files = files
	return seen, s.scanArchive(w)
}

// listFolder opens a folder so that no name in it can lead out of it, and lists it.
func listFolder(folder string) (*os.Root, []fs.DirEntry, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, err
	}
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(filesMax + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(entries) > filesMax {
		err = &ownError{fmt.Errorf("it holds more than %d entries", filesMax)}
	}
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return root, entries, nil
}

// oldestFirst looks at each entry, so that of two files with one content the later is the duplicate.
func oldestFirst(entries []fs.DirEntry) ([]fs.FileInfo, error) {
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken just now
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	return infos, nil
}

func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if found, _ := path.Match(pattern, name); found {
			return true
		}
	}
	return false
}

// note compares a file with what the look before saw of it.
func (s *fileState) note(name string, info fs.FileInfo, now time.Time) fileSeen {
	file := fileSeen{size: info.Size(), changed: info.ModTime(), came: now}
	before, known := s.files[name]
	if known && before.size == file.size && before.changed.Equal(file.changed) {
		before.whole = true
		return before
	}
	if s.files == nil {
		file.came = file.changed
		file.whole = now.Sub(file.changed) > settledAfter
	}
	return file
}

// whole takes a file that has arrived into account.
func (s *fileState) whole(ctx context.Context, root *os.Root, w *FileDropParams, name string, file *fileSeen, seen *sight) error {
	seen.count++
	if seen.oldest.IsZero() || file.came.Before(seen.oldest) {
		seen.oldest, seen.oldestName = file.came, name
	}
	if file.came.After(seen.newest) {
		seen.newest = file.came
	}
	if file.size < w.SizeMin {
		seen.small = fmt.Sprintf("file %q has %d bytes, at least %d are expected", name, file.size, w.SizeMin)
	} else if file.came.After(s.arrived) {
		s.arrived = file.came
	}
	if !w.Duplicates || file.size == 0 || file.size > hashBytesMax {
		return nil
	}
	if !file.hashed {
		sum, err := hashFile(ctx, root, name)
		if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return nil // taken just now, or left for the next look
		}
		if err != nil {
			return err
		}
		file.hashed = true
		file.twin = s.remember(sum, name)
	}
	if file.twin != "" {
		seen.duplicate = fmt.Sprintf("file %q has the same content as %q, which came before", name, file.twin)
	}
	return nil
}

// remember enters a content into the ledger; it gives the name under which the same content came before, if it did.
func (s *fileState) remember(sum [sha256.Size]byte, name string) (twin string) {
	if twin, known := s.ledger[sum]; known {
		return twin
	}
	if len(s.order) >= ledgerMax {
		delete(s.ledger, s.order[0])
		s.order = s.order[1:]
	}
	s.ledger[sum] = name
	s.order = append(s.order, sum)
	return ""
}

func hashFile(ctx context.Context, root *os.Root, name string) (sum [sha256.Size]byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return sum, errors.Join(fs.ErrNotExist, err) // exchanged since it was listed
	}
	h := sha256.New()
	chunk := make([]byte, hashChunkSize)
	for left := int64(hashBytesMax); left > 0; {
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		n, err := f.Read(chunk)
		h.Write(chunk[:n])
		left -= int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sum, err
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// scanArchive lets files that were taken already count as arrived.
func (s *fileState) scanArchive(w *FileDropParams) error {
	if w.Archive == "" {
		return nil
	}
	root, entries, err := listFolder(w.Archive)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer root.Close()
	for _, entry := range entries {
		if !matchesAny([]string{w.Pattern}, entry.Name()) || matchesAny(w.Temporary, entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() >= w.SizeMin && info.ModTime().After(s.arrived) {
			s.arrived = info.ModTime()
		}
	}
	return nil
}
