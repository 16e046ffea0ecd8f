package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/backstay/backstay/api"
)

// modelText writes a fitted model as people read it: what it rests on at the top, one line for each way and each table of times.
func modelText(f *LogFit) []byte {
	var b bytes.Buffer
	fitted := f.Model.Spec.Fitted
	line := func(format string, args ...any) {
		for _, text := range strings.Split(fmt.Sprintf(format, args...), "\n") {
			b.WriteString(strings.TrimRight("# "+printableText(text), " ") + "\n")
		}
	}
	line("Fitted to %s: %d cases, %d events, from %s to %s.", fitted.From, fitted.Cases, fitted.Events, fitted.Window[0], fitted.Window[1])
	for i := range f.Files {
		for _, text := range f.Files[i].SkippedText() {
			line("%s", text)
		}
	}
	if f.Begun > 0 {
		line("%d cases count as cut off by the end of the log.", f.Begun)
	}
	for _, names := range f.Beside {
		line("Begun at once: %s.", strings.Join(names, ", "))
	}
	if n := len(fitted.Guesses); n > 0 {
		line("%d figures rest on fewer than 30 samples and are guesses; see guesses below.", n)
	}
	line("Times are evenly spaced quantiles from the least to the greatest, with an exponential tail beyond the last but one.\n")
	line("%-42s %8s %12s %12s %14s", "step", "samples", "takes", "waits", "of it delay")
	for _, s := range f.Steps {
		line("%-42s %8d %12s %12s %14s", s.Name, s.Samples, meanText(s.Takes), meanText(s.Waits), meanText(s.Delay))
	}
	line("Takes, waits and delay are means. Delay is that part of the wait that no busy or absent worker explains.")
	data, err := json.Marshal(struct {
		Version string       `json:"apiVersion"`
		Kind    api.Kind     `json:"kind"`
		Meta    api.Metadata `json:"metadata"`
		Spec    any          `json:"spec"`
	}{api.Version, api.KindModel, f.Model.Metadata, f.Model.Spec})
	if err != nil {
		panic(fmt.Sprintf("encode a model: %v", err)) // plain data only: it cannot go wrong
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		panic(fmt.Sprintf("encode a model: %v", err))
	}
	dress(&doc, "")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		panic(fmt.Sprintf("encode a model: %v", err))
	}
	if err := enc.Close(); err != nil {
		panic(fmt.Sprintf("encode a model: %v", err))
	}
	return b.Bytes()
}

func printableText(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}

func meanText(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return api.Duration{Duration: d.Round(time.Minute)}.String()
	case d >= time.Minute:
		return api.Duration{Duration: d.Round(time.Second)}.String()
	}
	return api.Duration{Duration: d.Round(time.Millisecond)}.String()
}

// inOneLine are the keys whose values stand in one line.
var inOneLine = map[string]bool{"quantiles": true, "on": true, "window": true, "next": true, "begin": true, "days": true, "hours": true, "takes": true,
	"delay": true, "delays": true, "members": true, "metadata": true}

// nameKeys are the keys whose values are names, among which 0 and false are as good as any.
var nameKeys = map[string]bool{"name": true, "label": true, "after": true, "to": true, "pool": true, "summary": true, "from": true}

// dress takes what says nothing out of a document, and sets lists of lines in one line each.
func dress(n *yaml.Node, key string) {
	n.Style = 0
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			dress(c, "")
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			dress(c, "")
			if c.Kind == yaml.MappingNode && inOneLine[key] {
				c.Style = yaml.FlowStyle
			}
		}
		if len(n.Content) > 0 && n.Content[0].Kind == yaml.ScalarNode && inOneLine[key] {
			n.Style = yaml.FlowStyle
		}
	case yaml.MappingNode:
		kept := n.Content[:0]
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			k.Style = 0
			if saysNothing(v) && !(nameKeys[k.Value] && v.Value != "") {
				continue
			}
			dress(v, k.Value)
			if v.Kind == yaml.MappingNode && inOneLine[k.Value] {
				v.Style = yaml.FlowStyle
			}
			kept = append(kept, k, v)
		}
		n.Content = kept
	case yaml.ScalarNode:
		if n.Tag == "!!str" && (n.Value == "" || strings.ContainsAny(n.Value, "\n\r\t")) {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
}

// saysNothing tells whether a value is what is meant when it is left out.
func saysNothing(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Tag == "!!null" || n.Value == "" || n.Value == "0" || n.Value == "0s" || n.Value == "0%" || n.Value == "false" && n.Tag == "!!bool"
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if v := n.Content[i+1]; !saysNothing(v) || nameKeys[n.Content[i].Value] && v.Value != "" {
				return false
			}
		}
		return true
	case yaml.SequenceNode:
		return len(n.Content) == 0
	}
	return false
}
