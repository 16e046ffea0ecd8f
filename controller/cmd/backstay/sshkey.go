package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/backstay/backstay/api"
)

// openedKey signs; close lets go of the agent, where one holds the key.
type openedKey struct {
	signer ssh.Signer
	close  func()
}

// openKey finds the private half of a key: in its file, with a passphrase asked on the terminal, or in ssh-agent.
func openKey(file string, prompt io.Writer) (openedKey, error) {
	if rest, found := strings.CutPrefix(file, "~/"); found {
		home, err := os.UserHomeDir()
		if err != nil {
			return openedKey{}, err
		}
		file = home + "/" + rest
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return openedKey{}, &api.Error{Code: api.CodeNotFound, Message: "read the key", Err: err}
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return agentKey(public)
	}
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			err = &api.Error{Code: api.CodeInvalid, Message: "read the key " + file, Err: err, Hint: "for a hardware key, use ssh-agent and name the .pub file, or sign with --print and ssh-keygen"}
		}
		return openedKey{signer, func() {}}, err
	}
	if locked.PublicKey != nil {
		if key, err := agentKey(locked.PublicKey); err == nil {
			return key, nil
		}
	}
	passphrase, err := askPassphrase(file, prompt)
	if err != nil {
		return openedKey{}, err
	}
	signer, err = ssh.ParsePrivateKeyWithPassphrase(data, passphrase)
	if err != nil {
		return openedKey{}, &api.Error{Code: api.CodeDenied, Message: "open the key " + file, Err: err, Hint: "is it the right passphrase?"}
	}
	return openedKey{signer, func() {}}, nil
}

// agentKey finds the private half of a key in ssh-agent.
func agentKey(public ssh.PublicKey) (openedKey, error) {
	fingerprint := ssh.FingerprintSHA256(public)
	path := os.Getenv("SSH_AUTH_SOCK")
	if path == "" {
		return openedKey{}, &api.Error{Code: api.CodeUnavailable, Message: "there is no ssh-agent (SSH_AUTH_SOCK) to sign with " + fingerprint, Hint: "name the private key's file, or start an agent and ssh-add the key"}
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return openedKey{}, &api.Error{Code: api.CodeUnavailable, Message: "reach ssh-agent", Err: err}
	}
	signers, err := agent.NewClient(conn).Signers()
	if err == nil {
		for _, s := range signers {
			if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
				return openedKey{s, func() { _ = conn.Close() }}, nil // it is a local socket: nothing is lost
			}
		}
		err = errors.New("it does not hold " + fingerprint)
	}
	_ = conn.Close()
	return openedKey{}, &api.Error{Code: api.CodeNotFound, Message: "ask ssh-agent for the key", Err: err, Hint: "ssh-add it"}
}

// askPassphrase reads a passphrase from the terminal without showing it.
func askPassphrase(file string, prompt io.Writer) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, &api.Error{Code: api.CodeUsage, Message: "the key " + file + " has a passphrase, and there is no terminal to ask for it", Hint: "ssh-add it and run this with SSH_AUTH_SOCK set"}
	}
	defer tty.Close()
	stty := func(arg string) error {
		cmd := exec.Command("stty", arg)
		cmd.Stdin = tty
		return cmd.Run()
	}
	if err := stty("-echo"); err != nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "hide what is typed (stty)", Err: err, Hint: "ssh-add the key and run this with SSH_AUTH_SOCK set"}
	}
	defer func() { _ = stty("echo") }() // it worked a moment ago
	fmt.Fprintf(prompt, "Passphrase of %s: ", file)
	line, err := bufio.NewReader(tty).ReadString('\n')
	fmt.Fprintln(prompt)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	return []byte(strings.TrimRight(line, "\r\n")), nil
}
