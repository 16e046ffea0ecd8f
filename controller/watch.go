package controller

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// restBeforeReload is how long files must rest: editors and ConfigMap mounts change several at once.
const restBeforeReload = 250 * time.Millisecond

// watchFiles signals when something below a path has changed and then rested. The channel ends up quiet where watching is impossible.
func watchFiles(ctx context.Context, path string) (<-chan struct{}, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the configuration's files: %w", err)
	}
	if err := addFolders(w, path); err != nil {
		_ = w.Close() // nothing was watched
		return nil, err
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer w.Close()
		rest := time.NewTimer(time.Hour)
		rest.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if e.Has(fsnotify.Create) {
					_ = addFolders(w, e.Name) // a file, or gone again: nothing to watch in it
				}
				rest.Reset(restBeforeReload)
			case <-w.Errors:
				rest.Reset(restBeforeReload) // events were lost: look anyway
			case <-rest.C:
				select {
				case changes <- struct{}{}:
				default: // one is pending
				}
			}
		}
	}()
	return changes, nil
}

// addFolders watches a folder and those below it; of a file, its folder, because editors replace files.
func addFolders(w *fsnotify.Watcher, path string) error {
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("watch the configuration's files: %w", err)
		case entry.IsDir():
			return w.Add(name)
		case name == path:
			return w.Add(filepath.Dir(name))
		}
		return nil
	})
}
