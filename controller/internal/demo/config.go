package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// config is how a controller is told of the office: the files that the demo leaves for people to read and change.
//
//go:embed config/*.yaml
var config embed.FS

// WriteConfig writes the configuration for an office, with the addresses of this run filled in.
func WriteConfig(dir string, at Addresses) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	files, err := fs.Glob(config, "config/*.yaml")
	if err != nil {
		return err
	}
	for _, name := range files {
		t, err := template.ParseFS(config, name)
		if err != nil {
			return fmt.Errorf("read the demo's configuration: %w", err)
		}
		var text strings.Builder
		if err := t.Execute(&text, at); err != nil {
			return fmt.Errorf("fill in the demo's configuration: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(text.String()), 0o644); err != nil {
			return fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	return nil
}
