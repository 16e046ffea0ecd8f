package calendar

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/backstay/backstay/api"
)

// YAML writes what was imported as a Calendar document that people go on with: each date says beside it what it is.
func (i *Imported) YAML(name string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: Calendar\nmetadata: {name: %s}\nspec:\n", api.Version, name)
	if i.Title != "" {
		fmt.Fprintf(&b, "  summary: %s\n", strconv.QuoteToASCII(printable(i.Title)))
	}
	fmt.Fprintf(&b, "  zone: %s\n  weekend: [sat, sun]\n", i.Spec.Zone)
	if len(i.Spec.Holidays) > 0 {
		b.WriteString("  holidays:\n")
	}
	for n, h := range i.Spec.Holidays {
		fmt.Fprintf(&b, "    - %s", h)
		if label := printable(i.Labels[n]); label != "" {
			fmt.Fprintf(&b, " # %s", label)
		}
		b.WriteByte('\n')
	}
	if len(i.Spec.Yearly) > 0 {
		b.WriteString("  yearly:\n")
	}
	for _, h := range i.Spec.Yearly {
		fmt.Fprintf(&b, "    - {name: %s, on: %s", text(h.Name), h.On)
		if h.Since > 0 {
			fmt.Fprintf(&b, ", since: %d", h.Since)
		}
		b.WriteString("}\n")
	}
	if len(i.Spec.Freezes) > 0 {
		b.WriteString("  freezes:\n")
	}
	for _, f := range i.Spec.Freezes {
		fmt.Fprintf(&b, "    - {name: %s, from: %s, to: %s}\n", text(f.Name), text(f.From), text(f.To))
	}
	return []byte(b.String())
}

// text quotes a name or time, which might else read as a number, a date or a truth value.
func text(s string) string { return `"` + s + `"` }

// printable keeps a comment on its line.
func printable(s string) string {
	return strings.TrimSpace(short(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			return ' '
		}
		return c
	}, s)))
}
