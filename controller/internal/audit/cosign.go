package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// algCosignature marks keys that make Ed25519 cosignatures.
const algCosignature = 4

// Cosigner makes the cosignatures of c2sp.org/tlog-cosignature, version 1 with Ed25519: the word of a witness that it saw a log
// grow to a checkpoint and nothing that contradicts it.
type Cosigner struct {
	name string
	key  ed25519.PrivateKey
}

// NewCosigner reads a key as note.GenerateKey writes it, PRIVATE+KEY+NAME+HASH+BASE64. Use it for nothing else.
func NewCosigner(skey string) (Cosigner, error) {
	parts := strings.SplitN(strings.TrimSpace(skey), "+", 5)
	bad := errors.New("read the witness key: it is not of the form PRIVATE+KEY+NAME+HASH+BASE64")
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" || parts[2] == "" {
		return Cosigner{}, bad
	}
	b, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(b) != 1+ed25519.SeedSize || b[0] != 1 {
		return Cosigner{}, bad
	}
	return Cosigner{parts[2], ed25519.NewKeyFromSeed(b[1:])}, nil
}

// Name is the witness's name.
func (c Cosigner) Name() string { return c.name }

// Key is what others verify with: NAME+HASH+BASE64.
func (c Cosigner) Key() string {
	public := append([]byte{algCosignature}, c.key.Public().(ed25519.PublicKey)...)
	return fmt.Sprintf("%s+%08x+%s", c.name, keyHash(c.name, public), base64.StdEncoding.EncodeToString(public))
}

func keyHash(name string, algAndKey []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), algAndKey...))
	return binary.BigEndian.Uint32(sum[:])
}

func cosigned(text string, at uint64) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatUint(at, 10) + "\n" + text)
}

// Cosign gives the signature line for the text of a checkpoint. The time is kept in whole seconds.
func (c Cosigner) Cosign(text string, at time.Time) []byte {
	public := append([]byte{algCosignature}, c.key.Public().(ed25519.PublicKey)...)
	b := binary.BigEndian.AppendUint32(nil, keyHash(c.name, public))
	b = binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
	b = append(b, ed25519.Sign(c.key, cosigned(text, uint64(at.Unix())))...)
	return []byte("— " + c.name + " " + base64.StdEncoding.EncodeToString(b) + "\n")
}

// Witness verifies the cosignatures of one witness. It is a note.Verifier.
type Witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// NewWitness reads a witness's public key as Cosigner.Key writes it.
func NewWitness(vkey string) (Witness, error) {
	bad := errors.New("read the public key of the witness: it is not of the form NAME+HASH+BASE64 with a key for cosignatures")
	parts := strings.SplitN(strings.TrimSpace(vkey), "+", 3)
	if len(parts) != 3 || parts[0] == "" || len(parts[1]) != 8 || strings.ContainsAny(parts[0], " \t\r\n") {
		return Witness{}, bad
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return Witness{}, bad
	}
	b, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != algCosignature || keyHash(parts[0], b) != uint32(hash) {
		return Witness{}, bad
	}
	return Witness{parts[0], uint32(hash), ed25519.PublicKey(b[1:])}, nil
}

// Key is the witness's public key: NAME+HASH+BASE64.
func (w Witness) Key() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, w.key...)))
}

// Name is the witness's name.
func (w Witness) Name() string { return w.name }

// KeyHash is how its signatures are found.
func (w Witness) KeyHash() uint32 { return w.hash }

// Verify checks a timestamped signature over the text of a checkpoint.
func (w Witness) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return at < 1<<63 && ed25519.Verify(w.key, cosigned(string(text), at), sig[8:])
}

// Witnessed is a checkpoint that a witness has cosigned.
type Witnessed struct {
	Checkpoint
	By string    `json:"by"`
	At time.Time `json:"at"` // of the cosignature
}

// OpenWitnessed verifies the signatures of both, the log and the witness.
func OpenWitnessed(signed []byte, log note.Verifier, witness Witness) (Witnessed, error) {
	c, err := OpenCheckpoint(signed, log)
	if err != nil {
		return Witnessed{}, err
	}
	n, err := note.Open(signed, note.VerifierList(witness))
	if err != nil {
		return Witnessed{}, fmt.Errorf("open the checkpoint as witnessed by %s: %w", witness.name, err)
	}
	sig, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(sig) != 4+8+ed25519.SignatureSize {
		return Witnessed{}, fmt.Errorf("open the checkpoint as witnessed by %s: its cosignature is malformed", witness.name)
	}
	return Witnessed{c, witness.name, time.Unix(int64(binary.BigEndian.Uint64(sig[4:])), 0).UTC()}, nil
}

// AddCosignatures puts the answer of a witness, signature lines, behind a signed checkpoint, keeping only what the witness's key
// verifies.
func AddCosignatures(signed, lines []byte, log note.Verifier, witness Witness) ([]byte, error) {
	n, err := note.Open(append(bytes.Clone(signed), lines...), note.VerifierList(log, witness))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the witness: %w", err)
	}
	both, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs})
	if err != nil {
		return nil, fmt.Errorf("read the answer of the witness: %w", err)
	}
	if _, err := OpenWitnessed(both, log, witness); err != nil {
		return nil, err
	}
	return both, nil
}
