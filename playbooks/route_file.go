package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/backstay/backstay/api"
)

type fileRouteParams struct {
	Path   string            `json:"path" rule:"required" doc:"Absolute path of the file whose text is the active endpoint; it must exist."`
	Values map[string]string `json:"values,omitempty" doc:"The text for each endpoint; the endpoint's own name where left out."`
}

// routeFileMax is the most bytes that a route file may have.
const routeFileMax = 64 << 10

var fileRouteDriver = RouteDriver{
	Name:    "file",
	Summary: "Writes the active endpoint into a small file that the sender of the traffic watches: new file, fsync, rename, so that a reader sees the old text or the new one.",
	Params:  func() any { return new(fileRouteParams) },
	Build: func(in api.Integration, params any, _ *Env) (Route, error) {
		p := params.(*fileRouteParams)
		if !filepath.IsAbs(p.Path) || filepath.Clean(p.Path) != p.Path {
			return nil, fmt.Errorf("path %q is not a plain absolute path", p.Path)
		}
		return &fileRoute{in: in, path: p.Path, values: p.Values}, nil
	},
}

type fileRoute struct {
	in     api.Integration
	path   string
	values valueMap
}

// Read reads the file; white space around its text does not count.
func (r *fileRoute) Read(context.Context) (RouteState, error) {
	text, err := r.read()
	if err != nil {
		return RouteState{}, err
	}
	value := strings.TrimSpace(text)
	endpoint, ok := r.values.endpoint(r.in, value)
	if !ok {
		return RouteState{}, fmt.Errorf("route file %s says %q, which is no endpoint of %s", r.path, cut(value, 80), r.in.Metadata.Name)
	}
	image, err := json.Marshal(text)
	return RouteState{Shares: whole(r.in, endpoint), Image: image}, err
}

func (r *fileRoute) read() (string, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return "", fmt.Errorf("read the route file: %w", err)
	}
	defer f.Close()
	b, err := readBody(f, routeFileMax)
	if err != nil {
		return "", fmt.Errorf("read the route file %s: %w", r.path, err)
	}
	return string(b), nil
}

// Ready refuses shares.
func (r *fileRoute) Ready(_ RouteState, _ string, percent int) error {
	return wholeOnly("file", percent)
}

// Shift writes the endpoint's text.
func (r *fileRoute) Shift(_ context.Context, _ RouteState, to string, _ int) error {
	return r.write(r.values.value(to) + "\n")
}

// Restore writes the text of before.
func (r *fileRoute) Restore(_ context.Context, before RouteState) error {
	var text string
	if err := json.Unmarshal(before.Image, &text); err != nil {
		return notTaken{"read the before-image of the route file: " + err.Error()}
	}
	return r.write(text)
}

// write replaces the file atomically and durably, with its old permissions.
func (r *fileRoute) write(text string) error {
	info, err := os.Stat(r.path)
	if err != nil {
		return notTaken{fmt.Sprintf("look at the route file: %s", err)}
	}
	folder := filepath.Dir(r.path)
	f, err := os.CreateTemp(folder, ".backstay-*")
	if err != nil {
		return notTaken{fmt.Sprintf("write beside the route file: %s", err)}
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(info.Mode()&fs.ModePerm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.path)
	}
	if err != nil {
		return notTaken{fmt.Sprintf("replace the route file: %s", err)}
	}
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("make the new route file durable: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("make the new route file durable: %w", err)
	}
	return nil
}
