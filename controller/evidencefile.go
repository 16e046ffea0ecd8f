package controller

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/backstay/backstay/api"
)

// member is one file of a pack.
type member struct {
	name string
	data []byte
}

// packMax bounds what a pack unfolds to, in bytes: a small file may claim to hold the world.
const packMax = 1 << 30

// gzipHead is what every pack begins with: no name, no time, no system.
var gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// writeArchive writes members so that the same members give the same bytes.
func writeArchive(w io.Writer, members []member) error {
	z := gzip.NewWriter(w)
	b, err := tarOf(members)
	if err == nil {
		_, err = z.Write(b)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("write the evidence pack: %w", err)
	}
	return nil
}

func tarOf(members []member) ([]byte, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.data)), Mode: 0o444, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(m.data); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// readArchive reads members, and refuses whatever writeArchive would not have written around them.
func readArchive(data []byte) ([]member, error) {
	bad := func(format string, args ...any) error {
		return api.Errorf(api.CodeTampered, "read the evidence pack: "+format, args...)
	}
	if !bytes.HasPrefix(data, gzipHead) {
		return nil, bad("its first bytes are not those of a pack")
	}
	in := bytes.NewReader(data)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, bad("%w", err)
	}
	z.Multistream(false)
	unfolded, err := io.ReadAll(io.LimitReader(z, packMax+1))
	switch {
	case err != nil:
		return nil, bad("its compressed bytes are damaged: %w", err)
	case len(unfolded) > packMax:
		return nil, bad("it unfolds to more than %d bytes", packMax)
	case in.Len() > 0:
		return nil, bad("%d bytes follow its end", in.Len())
	}
	var members []member
	t := tar.NewReader(bytes.NewReader(unfolded))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, bad("after %s: %w", lastName(members), err)
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return nil, bad("member %s: %w", h.Name, err)
		}
		members = append(members, member{h.Name, b})
	}
	if again, err := tarOf(members); err != nil || !bytes.Equal(again, unfolded) {
		return nil, bad("around its members are bytes that a pack does not have: names, times or rights of files were changed, or something was hidden between them")
	}
	return members, nil
}

func lastName(members []member) string {
	if len(members) == 0 {
		return "the beginning"
	}
	return members[len(members)-1].name
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
