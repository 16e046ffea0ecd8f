package controller

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

// The data folder keeps each configuration that took effect, so that a backtest can replay the log with what was in force then: the
// log itself holds its digest and the texts of its playbooks, but neither probes nor the graph.
//
// Compatibility: configurations/DIGEST.zip, DIGEST as in the entry config.loaded without its prefix sha256:; in it the YAML files as they were, by
// their names in the order in which they are read.
const keptFolder = "configurations"

// keptMost bounds the bytes of one kept configuration, so that a damaged file cannot eat the memory.
const keptMost = 256 << 20

func keptPath(dir, digest string) string {
	return filepath.Join(dir, keptFolder, filepath.Base(strings.TrimPrefix(digest, "sha256:"))+".zip")
}

// keepConfig keeps the files of a configuration that takes effect. What is there already stays.
func keepConfig(dir, digest, path string) error {
	name := keptPath(dir, digest)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	files, err := configFiles(path)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("keep the configuration: %w", err)
		}
		w, err := z.Create(fmt.Sprintf("%05d-%s.yaml", i, strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".yaml"), ".yml")))
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			return fmt.Errorf("keep the configuration: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	if err := os.WriteFile(name+".new", b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	return nil
}

// kept reads kept configurations as the engine had them, with the approvals that the log says they had.
type kept struct {
	dir   string
	known map[string]*engine.Config
	facts map[string][]api.Fact // by digest
	err   error                 // the first that was there and could not be read
}

func newKept(dir string, entries []api.Entry) *kept {
	k := &kept{dir: dir, known: map[string]*engine.Config{}, facts: map[string][]api.Fact{}}
	for i := range entries {
		if e := &entries[i]; e.Kind == api.EntryConfigured {
			k.facts[e.Digest] = e.Facts
		}
	}
	return k
}

// config gives the configuration of a digest; nil where it was not kept.
func (k *kept) config(digest string) *engine.Config {
	c, known := k.known[digest]
	if !known {
		var err error
		if c, err = k.read(digest); err != nil && k.err == nil {
			k.err = err
		}
		k.known[digest] = c
	}
	return c
}

func (k *kept) read(digest string) (*engine.Config, error) {
	name := keptPath(k.dir, digest)
	z, err := zip.OpenReader(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, damaged(name, err)
	}
	defer z.Close()
	texts, names, left := map[string][]byte{}, []string(nil), int64(keptMost)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, damaged(name, err)
		}
		data, err := io.ReadAll(io.LimitReader(r, left+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, damaged(name, err)
		}
		if left -= int64(len(data)); left < 0 {
			return nil, damaged(name, fmt.Errorf("it holds more than %d MiB", keptMost>>20))
		}
		texts[f.Name] = data
		names = append(names, f.Name)
	}
	names = slices.DeleteFunc(names, isScenarioFile) // as a running controller does: tests are no part of what runs
	slices.Sort(names)
	set, findings := api.DecodeFiles(names, func(file string) ([]byte, error) { return texts[file], nil })
	set.Models, set.Scenarios = nil, nil
	findings = append(findings, set.Validate(catalog())...)
	l := newLoader(playbooks.Env{})
	l.set.Store(&set)
	cfg, more := l.build(&set)
	if findings = append(findings, more...); findings.Failed() {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the configuration that the data folder keeps as " + filepath.Base(name) + " has errors for this program:\n" + findings.Error(),
			Hint: "name a configuration with --config"}
	}
	cfg.Engine.Digest = digest
	approve(&cfg.Engine, k.facts[digest])
	return &cfg.Engine, nil
}

func damaged(name string, err error) error {
	return &api.Error{Code: api.CodeTampered, Message: "read the kept configuration " + name, Err: err, Hint: "restore it from a backup, or name a configuration with --config"}
}

// approve gives playbooks the approvals that the log says they had. Facts of the engine's making: mode M[, by A and B][, until T][: why].
func approve(c *engine.Config, facts []api.Fact) {
	for _, f := range facts {
		name, is := strings.CutPrefix(f.Name, "approval/")
		i := slices.IndexFunc(c.Playbooks, func(p engine.Playbook) bool { return p.Name == name })
		if !is || i < 0 {
			continue
		}
		text, a := f.Value, &engine.Approval{}
		if text, is = strings.CutPrefix(text, "mode "); !is {
			continue
		}
		head := text
		for _, part := range strings.Split(text, ", ") {
			if rest, has := strings.CutPrefix(part, "until "); has && len(rest) >= len("2006-01-02T15:04:05Z") {
				a.Expires, _ = time.Parse(time.RFC3339, rest[:len("2006-01-02T15:04:05Z")])
			}
		}
		if h, why, has := strings.Cut(text, ": "); has {
			head, a.Why = h, why
		}
		for n, part := range strings.Split(head, ", ") {
			if n == 0 {
				a.Mode = api.Mode(part)
			} else if by, has := strings.CutPrefix(part, "by "); has {
				a.By = strings.Split(by, " and ")
			}
		}
		c.Playbooks[i].Approval = a
	}
}

// keep is keepConfig for the running controller: what cannot be kept only costs backtests of this configuration.
func (p *process) keep() {
	if err := keepConfig(p.Data, p.inForce, p.Config); err != nil {
		p.Log.Warn("keep the configuration for backtests; they will need --config", "err", err)
	}
}
