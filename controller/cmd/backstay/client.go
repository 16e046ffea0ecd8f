package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

// client talks to the controller that runs on a data folder: it finds address and token there.
type client struct {
	base, token string
	http        *http.Client
}

func dial(cmd *cobra.Command) (*client, error) {
	dir := dataDir(cmd)
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil {
		return nil, notRunning(dir, err)
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, notRunning(dir, err)
	}
	return &client{base: "http://" + strings.TrimSpace(string(address)), token: strings.TrimSpace(string(token)), http: &http.Client{}}, nil
}

func notRunning(dir string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return &api.Error{Code: api.CodeDenied, Message: "read the token of " + dir, Err: err, Hint: "run as the controller's user, or ask for access to its data folder"}
	}
	return &api.Error{Code: api.CodeUnavailable, Message: "no controller runs on " + dir, Hint: "start one with backstay run, or name its folder with --data or BACKSTAY_DATA"}
}

func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, into)
}

func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return api.Errorf(api.CodeInternal, "read the controller's answer to %s: %w", path, err)
	}
	return nil
}

// raw is a body that is sent as it is.
type raw []byte

// send gives a 2xx answer, or the controller's own error.
func (c *client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if text, is := body.(raw); is {
		payload = bytes.NewReader(text)
	} else if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "reach the controller at " + c.base, Err: err, Hint: "is it still running? backstay doctor looks"}
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var coded api.Error
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&coded); err != nil || coded.Message == "" {
		return nil, api.Errorf(api.CodeInternal, "the controller answered %s to %s", resp.Status, path)
	}
	return nil, &coded
}
