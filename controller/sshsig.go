package controller

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// SSH signatures, in the format of ssh-keygen -Y sign: PROTOCOL.sshsig of OpenSSH.
const (
	sigMagic   = "SSHSIG"
	sigVersion = 1
	sigBegin   = "-----BEGIN SSH SIGNATURE-----"
	sigEnd     = "-----END SSH SIGNATURE-----"
	sigMax     = 8 << 10 // bytes of armored text; a signature of a hardware key has about 600
)

// keyTypes are the keys whose signatures count: all are hard to get wrong, which cannot be said of RSA and DSA.
var keyTypes = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256}

// sshSignature is a decoded signature. Nothing in it is believed before verify.
type sshSignature struct {
	key       ssh.PublicKey
	namespace string
	reserved  string
	hash      string // sha256 or sha512
	signature ssh.Signature
}

// sigBlob is what the armor holds after the magic.
type sigBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// parseSignature decodes one armored signature; blanks around it are allowed and nothing else.
func parseSignature(armored string) (*sshSignature, error) {
	if len(armored) > sigMax {
		return nil, fmt.Errorf("the signature has %d bytes; the most is %d", len(armored), sigMax)
	}
	text, begins := strings.CutPrefix(strings.TrimSpace(armored), sigBegin)
	text, ends := strings.CutSuffix(text, sigEnd)
	if !begins || !ends {
		return nil, errors.New("it is not an SSH signature: it begins with " + sigBegin + " and ends with its counterpart")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(strings.NewReplacer("\n", "", "\r", "", " ", "").Replace(text))
	if err != nil {
		return nil, fmt.Errorf("decode the SSH signature: %w", err)
	}
	data, found := bytes.CutPrefix(data, []byte(sigMagic))
	if !found {
		return nil, errors.New("decode the SSH signature: it does not begin with " + sigMagic)
	}
	var b sigBlob
	if err := ssh.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("decode the SSH signature: %w", err)
	}
	if b.Version != sigVersion {
		return nil, fmt.Errorf("the SSH signature has version %d; this reads version %d", b.Version, sigVersion)
	}
	s := &sshSignature{namespace: b.Namespace, reserved: b.Reserved, hash: b.Hash}
	if s.key, err = ssh.ParsePublicKey(b.PublicKey); err != nil {
		return nil, fmt.Errorf("decode the key of the SSH signature: %w", err)
	}
	if err := ssh.Unmarshal(b.Signature, &s.signature); err != nil {
		return nil, fmt.Errorf("decode the SSH signature: %w", err)
	}
	if len(s.signature.Rest) > 0 && !s.hardware() {
		return nil, errors.New("decode the SSH signature: something follows its end")
	}
	return s, acceptable(s.key)
}

// acceptable refuses kinds of key whose signatures do not count.
func acceptable(key ssh.PublicKey) error {
	if !slices.Contains(keyTypes, key.Type()) {
		return fmt.Errorf("keys of type %s do not count; use ed25519, ECDSA or a hardware key (ssh-keygen -t ed25519-sk)", key.Type())
	}
	return nil
}

// verify holds the signature against a message. It says nothing about whose key it is.
func (s *sshSignature) verify(namespace string, message []byte) error {
	if s.namespace != namespace {
		return fmt.Errorf("it was made for the namespace %q, not %q", s.namespace, namespace)
	}
	data, err := signedData(s.namespace, s.reserved, s.hash, message)
	if err != nil {
		return err
	}
	if s.hardware() && (len(s.signature.Rest) == 0 || s.signature.Rest[0]&1 == 0) {
		return errors.New("it was made by a hardware key that nobody touched; make a key that wants a touch")
	}
	if err := s.key.Verify(data, &s.signature); err != nil {
		return errors.New("it does not fit the approval's text: one of the two was changed, or it is for another text")
	}
	return nil
}

// hardware tells whether the key lives in a security key, which says in the signature whether somebody touched it.
func (s *sshSignature) hardware() bool {
	return s.key.Type() == ssh.KeyAlgoSKED25519 || s.key.Type() == ssh.KeyAlgoSKECDSA256
}

// signedData is what the key really signs.
func signedData(namespace, reserved, hash string, message []byte) ([]byte, error) {
	var sum []byte
	switch hash {
	case "sha256":
		h := sha256.Sum256(message)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(message)
		sum = h[:]
	default:
		return nil, fmt.Errorf("its hash %q is neither sha256 nor sha512", hash)
	}
	return append([]byte(sigMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, reserved, hash, sum})...), nil
}

// signMessage makes an armored signature, as ssh-keygen -Y sign would.
func signMessage(signer ssh.Signer, random io.Reader, namespace string, message []byte) (string, error) {
	if err := acceptable(signer.PublicKey()); err != nil {
		return "", err
	}
	data, err := signedData(namespace, "", "sha512", message)
	if err != nil {
		return "", err
	}
	sig, err := signer.Sign(random, data)
	if err != nil {
		return "", fmt.Errorf("sign with the key %s: %w", ssh.FingerprintSHA256(signer.PublicKey()), err)
	}
	blob := append([]byte(sigMagic), ssh.Marshal(sigBlob{sigVersion, signer.PublicKey().Marshal(), namespace, "", "sha512", ssh.Marshal(*sig)})...)
	var b strings.Builder
	b.WriteString(sigBegin + "\n")
	for text := base64.StdEncoding.EncodeToString(blob); text != ""; {
		n := min(len(text), 70)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString(sigEnd + "\n")
	return b.String(), nil
}
