package controller

import (
	"context"
	"errors"
	"io"

	"github.com/backstay/backstay/api"
)

type AuditQuery struct {
	Seq                   int64
	Incident, Remediation string
	Limit                 int
}

func AuditVerifyProof(dir, p, key string) (AuditReport, error) { return AuditReport{}, errors.ErrUnsupported }
func AuditEntries(ctx context.Context, dir string, q AuditQuery) ([]api.Entry, error) {
	return nil, errors.ErrUnsupported
}
func AuditExport(ctx context.Context, dir string, w io.Writer) error { return errors.ErrUnsupported }
func AuditProve(ctx context.Context, dir string, seq int64) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
