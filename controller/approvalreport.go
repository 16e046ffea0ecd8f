package controller

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/twin"
)

// reportEnding is how files are called, beside the configuration, that hold what simulations found.
const reportEnding = ".report.json"

const reportMax = 64 << 20 // bytes

// shelf is what an approval with a report is held against: reports, models and scenarios as they lie beside a configuration now. It reads
// the folder when it is first asked, since most configurations have no such approval.
type shelf struct {
	path string // of the configuration

	read      bool
	err       error
	reports   map[string]*twin.Report // by digest
	files     map[string]string       // where a report is, by digest
	broken    []string                // what cannot count, and why
	models    []string                // digests
	scenarios []api.Scenario
}

// proof finds what holds against a report that an approval rests on; nil where nothing does.
func (s *shelf) proof(digest string, p *engine.Playbook) error {
	if s == nil {
		return errors.New("its approval rests on a report, and there is no folder to look for it")
	}
	if !s.read {
		s.err, s.read = s.open(), true
	}
	if s.err != nil {
		return fmt.Errorf("the report that its approval rests on cannot be looked for: %w", s.err)
	}
	r := s.reports[digest]
	if r == nil {
		why := fmt.Sprintf("the report that its approval rests on (%s) is not beside the configuration", short(digest))
		if len(s.broken) > 0 {
			why += " (" + strings.Join(s.broken, "; ") + ")"
		}
		return errors.New(why)
	}
	name := filepath.Base(s.files[digest])
	if err := supports(r, p); err != nil {
		return fmt.Errorf("the report %s does not carry its approval: %w", name, err)
	}
	if !slices.Contains(s.models, r.Digests.Model) {
		return fmt.Errorf("the model was changed after the report %s was made (then %s)", name, short(r.Digests.Model))
	}
	i := slices.IndexFunc(s.scenarios, func(sc api.Scenario) bool { return sc.Metadata.Name == r.Scenario })
	switch {
	case i < 0:
		return fmt.Errorf("the scenario %s of the report %s is not beside the configuration", r.Scenario, name)
	case !played(&s.scenarios[i], r):
		return fmt.Errorf("the scenario %s was changed after the report %s was made (then %s, now %s)", r.Scenario, name, short(r.Digests.Scenario),
			short(twin.ScenarioDigest(&s.scenarios[i])))
	}
	return nil
}

// supports tells whether a report speaks for a playbook as it is now.
func supports(r *twin.Report, p *engine.Playbook) error {
	if r.Verdict != twin.Pass {
		return fmt.Errorf("its verdict is %s", r.Verdict)
	}
	for i := range r.Variants {
		if r.Variants[i].Variant != r.Subject {
			continue
		}
		for k := range r.Variants[i].Playbooks {
			switch q := &r.Variants[i].Playbooks[k]; {
			case q.Name != p.Name:
			case q.Digest != p.Digest:
				return fmt.Errorf("the playbook was changed after it was made (then %s, now %s)", short(q.Digest), short(p.Digest))
			case q.Triggered == 0:
				return errors.New("nothing in it set the playbook off")
			default:
				return nil
			}
		}
	}
	return fmt.Errorf("it says nothing of playbook %s in variant %s", p.Name, r.Subject)
}

// played tells whether a report is of this scenario. Seed and variants may come from the command line, and the report says which.
func played(sc *api.Scenario, r *twin.Report) bool {
	var variants []api.Variant
	for i := range r.Variants {
		variants = append(variants, r.Variants[i].Variant)
	}
	for _, seed := range []uint64{sc.Spec.Seed, r.Seed} {
		for _, list := range [][]api.Variant{sc.Spec.Variants, variants} {
			same := *sc
			same.Spec.Seed, same.Spec.Variants = seed, list
			if twin.ScenarioDigest(&same) == r.Digests.Scenario {
				return true
			}
		}
	}
	return false
}

// open reads what lies beside the configuration: below its folder, or in the folder of a single file.
func (s *shelf) open() error {
	s.reports, s.files = map[string]*twin.Report{}, map[string]string{}
	folder := folderOf(s.path)
	var specs []string
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != folder && (strings.HasPrefix(entry.Name(), ".") || folder != s.path):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasPrefix(entry.Name(), "."):
		case strings.HasSuffix(name, reportEnding):
			s.take(name)
		case filepath.Ext(name) == ".yaml" || filepath.Ext(name) == ".yml":
			specs = append(specs, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	set, _ := api.DecodeFiles(specs, os.ReadFile) // what cannot be read is not there: the approval does not count then
	for i := range set.Models {
		s.models = append(s.models, twin.ModelDigest(&set.Models[i]))
	}
	for _, sc := range set.Scenarios {
		sc.Spec.Use = nil // where its files lie is no part of what is played
		s.scenarios = append(s.scenarios, sc)
	}
	return nil
}

func (s *shelf) take(file string) {
	r, err := readReport(file)
	if err != nil {
		s.broken = append(s.broken, err.Error())
		return
	}
	s.reports[r.Digest], s.files[r.Digest] = r, file
}

// readReport reads a report from a file and holds it against its own digest.
func readReport(file string) (*twin.Report, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > reportMax {
		return nil, api.Errorf(api.CodeInvalid, "read the report %s: it has %d bytes; the most is %d", file, info.Size(), reportMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "read the report", Err: err, Hint: "backstay simulate -o json --report NAME" + reportEnding + " writes one"}
	}
	r, err := decodeReport(data)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "read the report %s: %w", filepath.Base(file), err)
	}
	return r, nil
}

// decodeReport reads a report, and refuses one that is not as it was made: its digest covers every byte that means something.
func decodeReport(data []byte) (*twin.Report, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	var says string
	if err := json.Unmarshal(fields["digest"], &says); err != nil {
		return nil, errors.New("it has no digest")
	}
	delete(fields, "digest")
	rest, err := json.Marshal(fields)
	if err == nil {
		rest, err = api.CanonicalJSON(rest) // what is read below is what the digest covers, and nothing else
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(rest)
	is := "sha256:" + hex.EncodeToString(sum[:])
	var r twin.Report
	if err := json.Unmarshal(rest, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Format != twin.ReportFormat:
		return nil, fmt.Errorf("its form is %q, and this program reads %q", r.Format, twin.ReportFormat)
	case is != says:
		return nil, fmt.Errorf("it was changed after it was made: its digest is %s, and it says %s", short(is), short(says))
	}
	r.Digest = is
	return &r, nil
}

var digestText = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// cite gives the digest of a report that people name by its digest or by its file. One that could never carry an approval of this playbook
// is refused, so that nobody signs it in vain.
func cite(report string, p *engine.Playbook) (digest, about string, err error) {
	if report == "" || digestText.MatchString(report) {
		return report, "", nil
	}
	r, err := readReport(report)
	if err != nil {
		return "", "", err
	}
	if err := supports(r, p); err != nil {
		return "", "", &api.Error{Code: api.CodeDenied, Message: fmt.Sprintf("the report %s cannot carry an approval of playbook %s", report, p.Name), Err: err,
			Hint: "simulate again, and read what the report says"}
	}
	return r.Digest, fmt.Sprintf("scenario %s, %d days, verdict %s", r.Scenario, r.Days, r.Verdict), nil
}
