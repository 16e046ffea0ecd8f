package controller

import (
	"context"
	"fmt"

	"github.com/backstay/backstay/controller/internal/store"
)

// AuditReport is what a verification found.
type AuditReport struct {
	OK       bool     `json:"ok"`
	Entries  int64    `json:"entries"`
	Text     string   `json:"text"`               // one sentence
	Problems []string `json:"problems,omitempty"` // each names the entry, row or page that does not fit
}

// AuditVerify checks the whole log of a data folder, beside a running controller or without one.
func AuditVerify(ctx context.Context, dir string) (AuditReport, error) {
	found, err := store.VerifyFolder(ctx, dir, store.VerifyOptions{})
	if err != nil {
		return AuditReport{}, err
	}
	report := AuditReport{OK: found.OK(), Entries: found.Entries}
	report.Text = fmt.Sprintf("%d entries, each as it was written; locally signed as %s", found.Entries, found.Origin)
	for _, d := range found.Damages {
		report.Problems = append(report.Problems, d.String())
	}
	if !report.OK {
		report.Text = fmt.Sprintf("%d entries; %d things are not as they were signed", found.Entries, len(found.Damages))
	}
	return report, nil
}
