package api

import (
	"errors"
	"fmt"
)

// Code says what sort of error it is; one table maps it to HTTP status and exit code.
type Code string

// The codes.
const (
	CodeUsage        Code = "usage"
	CodeInvalid      Code = "invalid"
	CodeNotFound     Code = "not-found"
	CodeDenied       Code = "denied"
	CodeConflict     Code = "conflict"
	CodeInconclusive Code = "inconclusive"
	CodeTampered     Code = "tampered"
	CodeUnavailable  Code = "unavailable"
	CodeInternal     Code = "internal"
)

// Error is a coded error: what was being done, what went wrong, and what to do next.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Err     error  `json:"-"` // printed after Message
	cause   error  // already within Message
}

// Error prints message, cause and hint.
func (e *Error) Error() string {
	s := e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error {
	if e.Err != nil {
		return e.Err
	}
	return e.cause
}

// Errorf makes a coded error; each %w in format keeps its cause for errors.Is.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// CodeOf finds the code of an error; CodeInternal where it has none.
func CodeOf(err error) Code {
	var coded *Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	return CodeInternal
}

// codeTable maps each code to an HTTP status and an exit code of the command line.
var codeTable = map[Code]struct{ status, exit int }{
	CodeUsage: {400, 2}, CodeInvalid: {422, 3}, CodeNotFound: {404, 4}, CodeDenied: {403, 5}, CodeConflict: {409, 5},
	CodeInconclusive: {409, 6}, CodeTampered: {500, 7}, CodeUnavailable: {503, 1}, CodeInternal: {500, 1},
}

// HTTPStatus is the status that the API answers with; 500 for a code that is not in the table.
func (c Code) HTTPStatus() int { return c.row().status }

// ExitCode is what the command line exits with; 1 for a code that is not in the table.
func (c Code) ExitCode() int { return c.row().exit }

func (c Code) row() struct{ status, exit int } {
	if row, ok := codeTable[c]; ok {
		return row
	}
	return codeTable[CodeInternal]
}
