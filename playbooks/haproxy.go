package playbooks

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// haproxySocket speaks HAProxy's runtime API: one command per connection, a text as the answer. The API has no status codes:
// an empty answer means that a command was taken, any text that it was not; and neither proves what the proxy does now.
type haproxySocket struct{ network, address string }

var haproxyName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// newHAProxySocket accepts the path of a unix socket, or HOST:PORT on loopback: the runtime API has no password.
func newHAProxySocket(address string) (haproxySocket, error) {
	if strings.HasPrefix(address, "/") {
		return haproxySocket{"unix", address}, nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return haproxySocket{}, fmt.Errorf("socket %q is neither an absolute path nor 127.0.0.1:PORT: HAProxy's runtime API has no password, so it is used on this machine only", address)
	}
	return haproxySocket{"tcp", address}, nil
}

// ask sends one command and reads the whole answer.
func (s haproxySocket) ask(ctx context.Context, command string) (text string, err error) {
	start := time.Now()
	defer func() {
		status := "answered"
		if err != nil {
			status = plainError(err)
		}
		recordCall(ctx, api.CallFact{Target: "haproxy " + s.address, Try: 1, Status: status, Took: time.Since(start)})
	}()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return "", notTaken{fmt.Sprintf("connect to HAProxy at %s: %s", s.address, plainError(err))}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("send %q to HAProxy: %s", command, plainError(err))
	}
	body, err := readBody(conn, answerBytesMax)
	if err != nil {
		return "", fmt.Errorf("read HAProxy's answer to %q: %s", command, plainError(err))
	}
	return string(body), nil
}

// set sends a command that changes something; any text in the answer is a refusal.
func (s haproxySocket) set(ctx context.Context, format string, args ...any) error {
	command := fmt.Sprintf(format, args...)
	text, err := s.ask(ctx, command)
	if err != nil {
		return err
	}
	if text = strings.TrimSpace(text); text != "" {
		return notTaken{fmt.Sprintf("HAProxy refused %q: %s", command, cut(text, 200))}
	}
	return nil
}

// The admin states of a server.
const (
	haproxyReady = "ready"
	haproxyDrain = "drain"
	haproxyMaint = "maint"
)

// haproxyServer is a server of a backend as HAProxy has it now.
type haproxyServer struct {
	Name   string `json:"name"`
	Admin  string `json:"admin"`  // ready, drain or maint
	Weight int    `json:"weight"` // 0 to 256
	Up     bool   `json:"up"`     // HAProxy's own check does not say that it is down
	Backup bool   `json:"backup"` // gets nothing while an active server is up
	Status string `json:"status"` // as show stat prints it
	Open   int64  `json:"open"`   // sessions
}

// The bits of srv_admin_state, as HAProxy's management guide lists them. 0x04 only says that maintenance came from the
// configuration, and 0x01 is set with it.
const (
	adminMaint = 0x01 | 0x02 | 0x20 | 0x40 // forced, inherited, unresolvable address, hostname set by hand
	adminDrain = 0x08 | 0x10               // forced, inherited
)

// parseServersState reads the answer to `show servers state BACKEND`.
func parseServersState(text, backend string) ([]haproxyServer, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) < 2 || strings.TrimSpace(lines[0]) != "1" || !strings.HasPrefix(lines[1], "# ") {
		return nil, fmt.Errorf("HAProxy's server state is not what was expected: %q", cut(strings.TrimSpace(text), 120))
	}
	column := map[string]int{}
	for i, name := range strings.Fields(lines[1][2:]) {
		column[name] = i
	}
	for _, name := range []string{"be_name", "srv_name", "srv_op_state", "srv_admin_state", "srv_uweight"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("HAProxy's server state has no column %s", name)
		}
	}
	var servers []haproxyServer
	for _, line := range lines[2:] {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) <= max(column["srv_op_state"], column["srv_admin_state"], column["srv_uweight"], column["srv_name"], column["be_name"]) {
			return nil, fmt.Errorf("HAProxy's server state has a short line: %q", cut(line, 120))
		}
		if fields[column["be_name"]] != backend {
			continue
		}
		op, err1 := strconv.ParseUint(fields[column["srv_op_state"]], 10, 8)
		admin, err2 := strconv.ParseUint(fields[column["srv_admin_state"]], 10, 16)
		weight, err3 := strconv.ParseUint(fields[column["srv_uweight"]], 10, 16)
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, fmt.Errorf("HAProxy's server state has a line without figures: %q", cut(line, 120))
		}
		s := haproxyServer{Name: fields[column["srv_name"]], Admin: haproxyReady, Weight: int(weight), Up: op != 0}
		switch {
		case admin&adminMaint != 0:
			s.Admin = haproxyMaint
		case admin&adminDrain != 0:
			s.Admin = haproxyDrain
		}
		servers = append(servers, s)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("HAProxy has no backend %q with servers", backend)
	}
	return servers, nil
}

// parseStat reads the answer to `show stat BACKEND 4 -1` into the servers: backup flag, status and open sessions.
func parseStat(text, backend string, servers []haproxyServer) error {
	text, ok := strings.CutPrefix(strings.TrimSpace(text), "# ")
	if !ok {
		return fmt.Errorf("HAProxy's statistics are not what was expected: %q", cut(text, 120))
	}
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	r.LazyQuotes = true
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("HAProxy's statistics are not CSV: %v", err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	last := 0
	for _, name := range []string{"pxname", "svname", "scur", "bck", "status"} {
		i, ok := column[name]
		if !ok {
			return fmt.Errorf("HAProxy's statistics have no column %s", name)
		}
		last = max(last, i)
	}
	seen := 0
	for _, row := range rows[1:] {
		if len(row) <= last || row[column["pxname"]] != backend {
			continue
		}
		for i := range servers {
			if servers[i].Name != row[column["svname"]] {
				continue
			}
			seen++
			servers[i].Backup = row[column["bck"]] == "1"
			servers[i].Status = row[column["status"]]
			if servers[i].Open, err = strconv.ParseInt(row[column["scur"]], 10, 64); err != nil || servers[i].Open < 0 {
				return fmt.Errorf("HAProxy's statistics say %q sessions of %s", row[column["scur"]], servers[i].Name)
			}
		}
	}
	if seen != len(servers) {
		return fmt.Errorf("HAProxy's statistics and server state of backend %q disagree about its servers; read again", backend)
	}
	return nil
}
