package witness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// askMax bounds one request.
const askMax = 10 * time.Second

// Client asks one witness.
type Client struct {
	url     string
	witness audit.Witness
	http    *http.Client
}

// NewClient makes a client of the witness at a submission prefix, whose public key is key.
func NewClient(url, key string) (*Client, error) {
	w, err := audit.NewWitness(key)
	if err != nil {
		return nil, &api.Error{Code: api.CodeUsage, Message: "use the witness at " + url, Err: err, Hint: "give the key that backstay witness prints at its start"}
	}
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil, api.Errorf(api.CodeUsage, "use the witness at %q: it needs an address that begins with https:// or http://", url)
	}
	return &Client{url: strings.TrimSuffix(url, "/") + "/add-checkpoint", witness: w, http: &http.Client{Timeout: askMax}}, nil
}

// Key is the witness's public key.
func (c *Client) Key() string { return c.witness.Key() }

// Name is the witness's name.
func (c *Client) Name() string { return c.witness.Name() }

// Conflict says that the witness cosigned another size last than the one that was asked from, or another log of the same size.
type Conflict struct{ Size int64 }

func (c Conflict) Error() string {
	return fmt.Sprintf("the witness cosigned the log at %d entries", c.Size)
}

// Unproven says that the witness holds the growth for not proven: it cosigned another log of the old size.
type Unproven struct{ Text string }

func (u Unproven) Error() string { return "the witness refuses the proof of growth: " + u.Text }

// Ask submits a checkpoint and gives it with the cosignature. The error is a Conflict where the witness knows the log otherwise.
func (c *Client) Ask(ctx context.Context, sub audit.Submission, log note.Verifier) (cosigned []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(sub.Marshal()))
	if err != nil {
		return nil, fmt.Errorf("ask the witness: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the witness: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	if err != nil {
		return nil, fmt.Errorf("read the witness's answer: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return audit.AddCosignatures(sub.Checkpoint, body, log, c.witness)
	case resp.StatusCode == http.StatusConflict:
		size, err := strconv.ParseInt(strings.TrimSuffix(string(body), "\n"), 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("read the witness's answer: it answered 409 without the size that it knows")
		}
		return nil, Conflict{size}
	}
	if resp.StatusCode == http.StatusUnprocessableEntity {
		return nil, Unproven{fmt.Sprintf("%.200s", bytes.TrimSpace(body))}
	}
	return nil, fmt.Errorf("ask the witness: it answered %s: %.200s", resp.Status, bytes.TrimSpace(body))
}
