package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 22, 13, 30, 15, 500, time.UTC)
	for text, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		"1d":                        "2026-11-24T00:00:00Z",
		"90d":                       "2027-02-21T00:00:00Z",
		"36h":                       "2026-11-25T00:00:00Z",
		"2h":                        "2026-11-22T15:30:15Z",
		"2027-02-20T00:00:00Z":      "2027-02-20T00:00:00Z",
		"2027-02-20T01:00:00+01:00": "2027-02-20T00:00:00Z",
	} {
		got, err := expiry(text, now)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "0s", "-1h", "2026-11-22T13:00:00Z", "2027-02-20"} {
		if got, err := expiry(text, now); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

// TestOpenKey finds a key in its file, and in a real agent where its file is locked or public only.
func TestOpenKey(t *testing.T) {
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := func(b *pem.Block, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(b)
	}
	open := write("open", block(ssh.MarshalPrivateKey(private, "")))
	locked := write("locked", block(ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))))
	public := write("public", ssh.MarshalAuthorizedKey(signer.PublicKey()))
	nonsense := write("nonsense", []byte("hello"))

	holds := func(path string) {
		t.Helper()
		key, err := openKey(path, os.Stderr)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer key.close()
		sig, err := key.signer.Sign(rand.Reader, []byte("x"))
		if err != nil || signer.PublicKey().Verify([]byte("x"), sig) != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	refuses := func(path, want string) {
		t.Helper()
		if _, err := openKey(path, os.Stderr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	holds(open)
	refuses(public, "no ssh-agent")
	refuses(nonsense, "read the key")
	refuses(filepath.Join(dir, "nowhere"), "no such file")

	ring := agent.NewKeyring()
	socket := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }() // until the other side closes
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	refuses(public, "does not hold")
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	holds(public)
	holds(locked)
}
