package controller

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/playbooks"
	"github.com/backstay/backstay/probes"
)

// Diagnosis is one thing that the doctor looked at.
type Diagnosis struct {
	What    string `json:"what"`
	Verdict string `json:"verdict"` // ok, warning or bad
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

func well(what, format string, args ...any) Diagnosis {
	return Diagnosis{What: what, Verdict: "ok", Text: fmt.Sprintf(format, args...)}
}

func ill(what, text, hint string) Diagnosis {
	return Diagnosis{What: what, Verdict: "bad", Text: text, Hint: hint}
}

// Doctor looks at what a controller needs: the data folder, the limits of the process, the configuration, whether each endpoint of it can
// be reached by TCP, and the log. It changes nothing but for one file that it writes and removes in the data folder.
func Doctor(ctx context.Context, dataDir, configPath string) []Diagnosis {
	all := []Diagnosis{fileLimit()}
	all = append(all, dataFolder(ctx, dataDir)...)
	if configPath == "" {
		return all
	}
	l := newLoader(playbooks.Env{})
	l.running = true
	_, set, findings, err := l.load(configPath)
	switch {
	case err != nil:
		return append(all, ill("configuration", err.Error(), ""))
	case findings.Failed():
		return append(all, ill("configuration", fmt.Sprintf("%d findings", len(findings)), "backstay check "+configPath))
	}
	all = append(all, well("configuration", "%d probes, %d playbooks, %d integrations", len(set.Probes), len(set.Playbooks), len(set.Integrations)))
	for _, in := range set.Integrations {
		for _, e := range in.Spec.Endpoints {
			all = append(all, reach(ctx, in.Metadata.Name+"/"+e.Name, e.URL))
		}
	}
	return all
}

// filesMin is how many open files a controller with some hundred targets wants.
const filesMin = 4096

func fileLimit() Diagnosis {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return ill("open files", "read the limit: "+err.Error(), "")
	}
	if limit.Cur < filesMin {
		return Diagnosis{What: "open files", Verdict: "warning", Text: fmt.Sprintf("at most %d", limit.Cur), Hint: fmt.Sprintf("ulimit -n %d, or LimitNOFILE= of the service", filesMin)}
	}
	return well("open files", "at most %d", limit.Cur)
}

func dataFolder(ctx context.Context, dir string) []Diagnosis {
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return []Diagnosis{well("data folder", "%s is not there yet; run makes it", dir)}
	}
	probe := filepath.Join(dir, ".doctor")
	if err := os.WriteFile(probe, []byte("x"), 0o600); err != nil {
		return []Diagnosis{ill("data folder", err.Error(), "the controller's user must be able to write there")}
	}
	_ = os.Remove(probe) // written a moment ago
	all := []Diagnosis{diskSpace(dir)}
	if _, err := os.Stat(filepath.Join(dir, "backstay.db")); err != nil {
		return append(all, well("log", "no log there yet"))
	}
	report, err := AuditVerify(ctx, dir, "")
	if err != nil {
		return append(all, ill("log", err.Error(), "backstay audit verify"))
	}
	if !report.OK {
		return append(all, ill("log", report.Problems[0], "backstay audit verify"))
	}
	return append(all, well("log", "%d entries, all as they were signed", report.Entries))
}

// diskMin is the free space below which the doctor warns, in bytes.
const diskMin = 1 << 30

func diskSpace(dir string) Diagnosis {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return ill("data folder", "read the free space: "+err.Error(), "")
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free < diskMin {
		return Diagnosis{What: "data folder", Verdict: "warning", Text: fmt.Sprintf("%s has %d MB left", dir, free>>20), Hint: "a full disk stops all acting: make room"}
	}
	return well("data folder", "%s, %d GB left", dir, free>>30)
}

// reach dials an endpoint; it sends nothing.
func reach(ctx context.Context, what string, secret api.Secret) Diagnosis {
	text, err := probes.ResolveSecret(secret)
	if err != nil {
		return ill(what, api.Redact(err.Error()), "")
	}
	u, err := url.Parse(text)
	if err != nil {
		return ill(what, "its URL cannot be read", "write scheme://host:port")
	}
	if u.Host == "" {
		path := strings.TrimPrefix(strings.TrimPrefix(u.Opaque+u.Path, "file:"), "sqlite:")
		if _, err := os.Stat(path); err != nil {
			return ill(what, err.Error(), "")
		}
		return well(what, "%s is there", path)
	}
	host := u.Host
	if u.Port() == "" {
		ports := map[string]string{"http": "80", "https": "443", "amqp": "5672", "amqps": "5671", "postgres": "5432", "postgresql": "5432", "mysql": "3306"}
		host = net.JoinHostPort(u.Hostname(), ports[u.Scheme])
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return ill(what, err.Error(), "is it up, and may this machine reach it?")
	}
	_ = conn.Close() // nothing was sent
	return well(what, "%s answers in %s", host, time.Since(start).Round(time.Microsecond))
}
