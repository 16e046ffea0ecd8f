package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the log as it grows",
		Args:  cobra.NoArgs,
	}
	form := cmd.Flags().StringP("output", "o", "table", "output: table, or json (one entry a line)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		err = watch(cmd, c, *form == "json")
		if errors.Is(err, context.Canceled) || cmd.Context().Err() != nil {
			return nil // the person pressed Ctrl-C
		}
		return err
	}
	return cmd
}

func watch(cmd *cobra.Command, c *client, raw bool) error {
	resp, err := c.send(cmd.Context(), http.MethodGet, "/watch", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	w, p := cmd.OutOrStdout(), newPainter(cmd.OutOrStdout())
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		if raw {
			fmt.Fprintln(w, data)
			continue
		}
		var e api.Entry
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return api.Errorf(api.CodeInternal, "read an entry from the controller: %w", err)
		}
		writeEntry(w, p, e)
	}
	if err := lines.Err(); err != nil {
		return api.Errorf(api.CodeUnavailable, "follow the log: %w", err)
	}
	return api.Errorf(api.CodeUnavailable, "the controller ended the stream: it stopped, or this terminal was too slow")
}
