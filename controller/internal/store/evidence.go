package store

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/controller/internal/audit"
)

// ProveAll makes proofs of several entries under one checkpoint, so that they can be handed on together.
func (r *Reader) ProveAll(ctx context.Context, seqs []int64) (Head, []Proven, error) {
	head, err := r.head(ctx)
	if err != nil {
		return Head{}, nil, err
	}
	checkpoint, err := audit.OpenCheckpoint(head.Checkpoint, r.verifier)
	if err != nil {
		return Head{}, nil, tampered("prove entries: %w", err)
	}
	hashes := remembered(storedHashes(ctx, r.read))
	out := make([]Proven, len(seqs))
	for i, seq := range seqs {
		if seq < 0 || seq >= head.Size {
			return Head{}, nil, notFoundEntry(seq, head.Size)
		}
		p := &out[i]
		err := r.eachBody(ctx, Query{From: seq, To: seq + 1}, func(_ int64, body []byte) error {
			p.Entry = append(p.Entry, body...)
			return nil
		})
		if err != nil {
			return Head{}, nil, err
		}
		if p.Proof, err = audit.Prove(seq, checkpoint, head.Checkpoint, hashes); err != nil {
			return Head{}, nil, explain(err, "prove entries", r.dir)
		}
		if _, err := p.Proof.Check(p.Entry, r.verifier); err != nil {
			return Head{}, nil, tampered("prove entry %d: %w", seq, err)
		}
	}
	return head, out, nil
}

// remembered reads each hash once: proofs of neighbours share most of theirs.
func remembered(r tlog.HashReader) tlog.HashReader {
	known := map[int64]tlog.Hash{}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var missing []int64
		for _, i := range indexes {
			if _, have := known[i]; !have {
				missing = append(missing, i)
			}
		}
		if len(missing) > 0 {
			read, err := r.ReadHashes(missing)
			if err != nil {
				return nil, err
			}
			for n, i := range missing {
				known[i] = read[n]
			}
		}
		out := make([]tlog.Hash, len(indexes))
		for n, i := range indexes {
			out[n] = known[i]
		}
		return out, nil
	})
}
