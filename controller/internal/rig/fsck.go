package rig

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tesseraFsck is the version of Tessera whose fsck judges our tiles: somebody else's reading of the specification.
const tesseraFsck = "v1.0.4"

// fsckMax bounds one run of fsck: it waits for ever for a resource that is not there.
const fsckMax = 60 * time.Second

// Fsck checks the log under url with the checker of github.com/transparency-dev/tessera, building that first where this account's
// cache does not hold it. keyFile holds the log's public key; token may be empty. It gives what fsck printed; an error where it did not
// say that it accepts the log (its exit code is 0 either way).
func Fsck(t testing.TB, url, keyFile, token string) (output string, err error) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find the cache folder for fsck: %v", err)
	}
	bin := filepath.Join(cache, "backstay-rig", "tessera-fsck-"+tesseraFsck)
	exe := filepath.Join(bin, "fsck")
	if _, err := os.Stat(exe); err != nil {
		cmd := exec.Command("go", "install", "github.com/transparency-dev/tessera/cmd/fsck@"+tesseraFsck)
		cmd.Dir = t.TempDir() // outside any module
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			lack(t, "the fsck of tessera "+tesseraFsck+" does not build ("+err.Error()+"): "+string(out))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), fsckMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "--storage_url="+url, "--public_key="+keyFile, "--bearer_token="+token, "--logtostderr", "--ui=false")
	cmd.Env = append(os.Environ(), "TERM=dumb")
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "Successfully fsck'd log") {
		err = errors.New("fsck does not accept the log")
	}
	return string(out), err
}
