package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a running PostgreSQL server with one database, orders, and one superuser, postgres, trusted on loopback.
type Postgres struct {
	URL string // postgres://postgres@127.0.0.1:PORT/orders?sslmode=disable
	*server
}

// PostgreSQL starts a PostgreSQL server. It does not sync to disk: it is for tests of behaviour, not of durability.
func PostgreSQL(t testing.TB) *Postgres {
	t.Helper()
	initdb := need(t, "postgresql", "/usr/lib/postgresql/*/bin/initdb", "initdb")
	bin := filepath.Join(filepath.Dir(initdb), "postgres")
	as, err := account("postgres") // the server refuses root
	if err != nil {
		lack(t, "no account named postgres to run the server as: apt-get install postgresql")
	}
	dir, err := newDir("pg", as)
	if err != nil {
		t.Fatal(err)
	}
	data, port := filepath.Join(dir, "data"), Port(t)
	cmd := exec.Command(initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		t.Fatalf("make a PostgreSQL data folder: %v\n%s", err, out)
	}
	s, err := start(launch{name: "postgres", dir: dir, as: as, argv: []string{bin, "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + dir, "-c", "fsync=off"}})
	if err != nil {
		t.Fatal(err)
	}
	s.attach(t)
	admin := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	if err := s.ready(30*time.Second, func() error { return makeDatabase(admin) }); err != nil {
		t.Fatal(err)
	}
	return &Postgres{URL: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/orders?sslmode=disable", port), server: s}
}

func makeDatabase(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "create database orders")
	return err
}
