package rig

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver of this server
)

// Maria is a running MariaDB server with one database, orders, and one user, rig, without a password.
type Maria struct {
	URL string // mysql://rig@127.0.0.1:PORT/orders
	DSN string // the same as go-sql-driver/mysql reads it
	*server
}

// MariaDB starts a MariaDB server.
func MariaDB(t testing.TB) *Maria {
	t.Helper()
	bin := need(t, "mariadb-server", "/usr/sbin/mariadbd", "mariadbd")
	install := need(t, "mariadb-server", "/usr/bin/mariadb-install-db", "mariadb-install-db")
	as, err := account("mysql") // the server refuses root
	if err != nil {
		lack(t, "no account named mysql to run the server as: apt-get install mariadb-server")
	}
	dir, err := newDir("maria", as)
	if err != nil {
		t.Fatal(err)
	}
	data, port := filepath.Join(dir, "data"), Port(t)
	cmd := exec.Command(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		t.Fatalf("make a MariaDB data folder: %v\n%s", err, out)
	}
	setup := filepath.Join(dir, "setup.sql")
	text := "create database if not exists orders;\ncreate user if not exists rig@'127.0.0.1';\ngrant all on *.* to rig@'127.0.0.1';\n"
	if err := os.WriteFile(setup, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := start(launch{name: "mariadb", dir: dir, as: as, argv: []string{bin, "--no-defaults", "--datadir=" + data, "--port=" + strconv.Itoa(port),
		"--bind-address=127.0.0.1", "--skip-name-resolve", "--socket=" + filepath.Join(dir, "s.sock"), "--pid-file=" + filepath.Join(dir, "pid"), "--init-file=" + setup}})
	if err != nil {
		t.Fatal(err)
	}
	s.attach(t)
	m := &Maria{server: s, URL: fmt.Sprintf("mysql://rig@127.0.0.1:%d/orders", port), DSN: fmt.Sprintf("rig@tcp(127.0.0.1:%d)/orders", port)}
	if err := s.ready(30*time.Second, m.ping); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *Maria) ping() error {
	db, err := sql.Open("mysql", m.DSN)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}
