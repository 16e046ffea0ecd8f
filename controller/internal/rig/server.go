package rig

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// watcher runs a server until its own input ends, then stops it: politely first, then its whole process group. A process
// outside that group removes the folder once nothing writes to it any more. $1 is the folder, the rest is the command.
const watcher = `dir=$1; shift
"$@" </dev/null &
pid=$!
read -r word
kill -TERM $pid 2>/dev/null
i=0
while [ "$word" != kill ] && [ $i -lt 50 ] && kill -0 $pid 2>/dev/null; do sleep 0.1; i=$((i+1)); done
[ "$word" = kill ] || setsid /bin/sh -c 'sleep 0.2; rm -rf "$0"' "$dir" &
kill -9 -$$`

// server is one running program.
type server struct {
	name string
	dir  string
	cmd  *exec.Cmd
	hold io.WriteCloser // the pipe that keeps it alive
	done chan struct{}
	once sync.Once
}

// launch describes a program to start.
type launch struct {
	name string
	dir  string   // its own folder, from newDir
	argv []string // argv[0] is an absolute path
	env  []string // beside PATH and HOME
	as   *syscall.Credential
}

// start runs a program under a watcher, with its output in dir/NAME.log.
func start(l launch) (*server, error) {
	log, err := os.OpenFile(filepath.Join(l.dir, l.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", watcher, "watcher", l.dir}, l.argv...)...)
	cmd.Dir = l.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "LANG=C.UTF-8"}, l.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: l.as}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	s := &server{name: l.name, dir: l.dir, cmd: cmd, hold: hold, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the watcher always ends by the signal that it sends to its own group
		close(s.done)
	}()
	return s, nil
}

// stop ends the server. How is "" to end it politely and remove its folder, and "kill" to end it as a crash
// would, without a chance to write anything, and leave the folder for a later start.
func (s *server) stop(how string) {
	s.once.Do(func() {
		if how != "" {
			_, _ = io.WriteString(s.hold, how+"\n") // a watcher that is gone has stopped the server already
		}
		s.hold.Close()
		<-s.done
		if how == "" {
			os.RemoveAll(s.dir)
		}
	})
}

// logs is the end of everything that the server wrote.
func (s *server) logs() string {
	var out bytes.Buffer
	paths, _ := filepath.Glob(filepath.Join(s.dir, "*.log")) // the pattern is a constant
	more, _ := filepath.Glob(filepath.Join(s.dir, "log", "*.log"))
	for _, path := range append(paths, more...) {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		if len(text) > 4000 {
			text = text[len(text)-4000:]
		}
		fmt.Fprintf(&out, "--- %s\n%s\n", filepath.Base(path), text)
	}
	return out.String()
}

// ready waits until check passes, and gives up when the time is over.
func (s *server) ready(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not ready after %s: %w\n%s", s.name, limit, err, s.logs())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// attach stops the server at the end of the test and shows its logs if the test failed.
func (s *server) attach(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s", s.name, s.logs())
		}
		s.stop("")
	})
}

// need finds a program, or skips the test with a message that names the Debian package. In CI a skip is a failure.
func need(t testing.TB, pkg string, places ...string) string {
	t.Helper()
	for _, place := range places {
		found, _ := filepath.Glob(place) // the patterns are constants of this package
		if len(found) > 0 {
			return found[len(found)-1]
		}
		if path, err := exec.LookPath(place); err == nil {
			return path
		}
	}
	lack(t, fmt.Sprintf("%s is not installed: apt-get install %s", places[0], pkg))
	return ""
}

// lack skips, or fails in CI.
func lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("REAL SYSTEM MISSING: %s", why)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s", why)
}

// Port finds a free loopback TCP port. Ports are handed out once per test binary.
func Port(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	return port
}

var ports = struct {
	sync.Mutex
	given map[int]bool
}{given: map[int]bool{}}

// Ports are taken from below those that Linux gives to outgoing connections, 32768 and up: one of these could take a port
// between its being found and its being listened on, or while a server that keeps its port is down.
const (
	portsFrom = 10000
	portsTo   = 32000
)

func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := portsFrom + rand.IntN(portsTo-portsFrom)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue // somebody is there
		}
		l.Close()
		ports.given[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("none of 1000 ports from %d to %d was free", portsFrom, portsTo)
}

// newDir makes a folder that the given account owns. It is short, because it holds unix sockets, and not below
// t.TempDir, which other accounts may not enter.
func newDir(name string, as *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", "rig-"+name+"-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if as != nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	return dir, err
}

// account is the system account for a server that refuses to run as root; nil where we are not root anyway.
func account(name string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// dialable says nil once something listens there.
func dialable(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
