package store

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// Export writes entries as JSON lines: each line is the canonical bytes of one entry, which is what is hashed, and the last line
// is the checkpoint that covers them. Limit 0 means all. An export of the whole log verifies by itself: audit.VerifyExport.
func (r *Reader) Export(ctx context.Context, w io.Writer, q Query) (entries int64, err error) {
	head, err := r.head(ctx)
	if err != nil {
		return 0, err
	}
	if q.To == 0 || q.To > head.Size {
		q.To = head.Size
	}
	if q.Limit == 0 {
		q.Limit = math.MaxInt64
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if q.To > 0 { // else the log is empty, and To 0 would not bound the query
		err = r.eachBody(ctx, q, func(_ int64, body []byte) error {
			entries++
			if _, err := out.Write(body); err != nil {
				return err
			}
			return out.WriteByte('\n')
		})
	}
	if err != nil {
		return entries, err
	}
	trailer, err := json.Marshal(audit.Trailer{Checkpoint: string(head.Checkpoint), Key: head.Key})
	if err != nil {
		return entries, err
	}
	if _, err := out.Write(append(trailer, '\n')); err != nil {
		return entries, fmt.Errorf("write the export: %w", err)
	}
	return entries, out.Flush()
}

func notFoundEntry(seq, size int64) error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("entry %d is not in the log", seq), Hint: fmt.Sprintf("it holds entries 0 to %d", size-1)}
}
