package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch Backstay heal a small back office, and judge it by the payment gateways' own ledgers",
		Long: `Runs the real controller beside a small simulated back office on loopback: customers order, two payment gateways behind a
router take the money, an ERP system books. Three things go wrong. A gateway takes money and never answers, so that a naive retry on the
other gateway would charge twice; the ERP system refuses for a while; a worker dies.

It ends after about a minute with a score card, and with the same day played in the twin: with the controller off, with a naive retry,
and with the playbooks. Exit code 0 only if every figure holds.`,
		Args: cobra.NoArgs,
	}
	var o controller.DemoOptions
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "what goes wrong exactly when, and what each order is worth")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave everything running afterwards, to look around with the other commands")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "address of the controller's HTTP API")
	headless := cmd.Flags().Bool("headless", false, "plain lines: no colour, no line that changes")
	form := cmd.Flags().StringP("output", "o", "text", "output: text, or json (the score card on stdout, the story on stderr)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *form != "text" && *form != "json" {
			return api.Errorf(api.CodeUsage, "output %q is not text or json", *form)
		}
		if cmd.Flags().Changed("data") {
			o.Data = dataDir(cmd)
		}
		if *form == "json" {
			s := &stage{w: cmd.ErrOrStderr()}
			return perform(cmd, o, s, func(card controller.DemoCard) { _ = json.NewEncoder(cmd.OutOrStdout()).Encode(card) })
		}
		s := &stage{w: cmd.OutOrStdout()}
		if f, isFile := s.w.(*os.File); isFile && !*headless {
			s.live = isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
			s.p = newPainter(s.w)
		}
		return perform(cmd, o, s, s.card)
	}
	return cmd
}

// perform plays the demo on a stage, with show for the score card.
func perform(cmd *cobra.Command, o controller.DemoOptions, s *stage, show func(controller.DemoCard)) error {
	o.Log = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelError}))
	o.Tell, o.Pulse, o.Card = s.tell, s.pulse, show
	o.Kept = func(folder string) {
		fmt.Fprintf(s, "\nStill running. In another terminal:\n  export BACKSTAY_DATA=%s\n  backstay get incidents\n  backstay why card-gateway-failover\n  backstay audit verify\nThe configuration is in %s. Ctrl-C ends it.\n",
			filepath.Join(folder, "data"), filepath.Join(folder, "config"))
	}
	s.intro(o.Seed)
	card, err := controller.Demo(cmd.Context(), o)
	if err != nil {
		if cmd.Context().Err() != nil {
			return api.Errorf(api.CodeInconclusive, "the demo was interrupted before its score card")
		}
		return err
	}
	if !card.OK {
		return exitVerdict(1)
	}
	return nil
}

// stage is where the story is told: lines that stay, and on a terminal one last line that changes.
type stage struct {
	w      io.Writer
	p      painter
	live   bool
	status string
}

// Write prints above the line that changes.
func (s *stage) Write(b []byte) (int, error) {
	if s.status == "" {
		return s.w.Write(b)
	}
	_, err := fmt.Fprintf(s.w, "\r\x1b[K%s%s", b, s.status)
	return len(b), err
}

func (s *stage) intro(seed uint64) {
	fmt.Fprintf(s, `%s  seed %d
Customers order 8 times a second. A router sends captures to gateway A; gateway B stands by; an ERP system books.
Three things will go wrong. The judge reads the gateways' own ledgers, not the controller.

`, s.p.bold("BACKSTAY DEMO"), seed)
}

func (s *stage) tell(e controller.DemoEvent) {
	marks := map[string]string{
		"fault": s.p.red("FAULT   "), "over": s.p.dim("over    "), "detected": s.p.amber("detected"), "cause": s.p.amber("incident"), "no": s.p.amber("WHY NOT "),
		"playbook": s.p.bold("playbook"), "act": "acting  ", "done": s.p.green("done    "), "unsure": s.p.red("unsure  "), "verified": s.p.green("ended   "), "closed": s.p.green("closed  "), "asked": s.p.amber("asks    "), "answered": "answers ",
	}
	fmt.Fprintf(s, "%s  %s  %s\n", s.p.dim(fmt.Sprintf("%5.1fs", e.At.Seconds())), marks[e.Kind], e.Text)
}

func (s *stage) pulse(p controller.DemoPulse) {
	if !s.live {
		return
	}
	s.status = s.p.dim(fmt.Sprintf("orders %d   booked %d   on their way %d   in doubt %d   dead letters %d   route %s", p.Placed, p.Booked, p.Waiting, p.InDoubt, p.Dead, p.Route))
	fmt.Fprintf(s.w, "\r\x1b[K%s", s.status)
}

func (s *stage) card(c controller.DemoCard) {
	if s.status != "" {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.status = ""
	}
	line := strings.Repeat("─", 78)
	fmt.Fprintf(s.w, "\n%s\n%s\n", line, s.p.bold("SCORE CARD"))
	row := func(name string, good bool, format string, args ...any) {
		mark := s.p.green("ok ")
		if !good {
			mark = s.p.red("BAD")
		}
		fmt.Fprintf(s.w, "  %s  %-22s %s\n", mark, name, fmt.Sprintf(format, args...))
	}
	row("orders", c.Booked == c.Placed, "%d in = %d booked", c.Placed, c.Booked)
	row("double charges", c.DoubleCharged == 0, "%d   (%d captures were made and never answered)", c.DoubleCharged, c.UnansweredA)
	row("lost", c.Lost == 0 && c.WrongAmount == 0, "%d", c.Lost)
	for _, f := range c.Faults {
		text := "not healed"
		if f.Healed {
			text = fmt.Sprintf("detected %s   acted %s   verified %s   %s", seconds(f.Detected), seconds(f.Acted), seconds(f.Verified), s.p.dim(f.Playbook))
		}
		row("fault: "+f.Name, f.Healed, "%s", text)
	}
	row("actions taken", c.Actions > 0, "%d", c.Actions)
	row("\"why not\" entries", c.WhyNot > 0, "%d", c.WhyNot)
	row("audit log", c.Verified, "%s", c.Audit)
	s.twin(c.Twin)
	fmt.Fprintln(s.w, line)
	for _, b := range c.Broken {
		fmt.Fprintf(s.w, "%s %s\n", s.p.red("does not hold:"), b)
	}
}

// twin tells how the same day goes in the twin, beside what it came to in earnest.
func (s *stage) twin(t *controller.DemoTwin) {
	if t == nil {
		return
	}
	fmt.Fprintf(s.w, "%s\n%s  the same faults, %d days of each in %s; the middle day\n", strings.Repeat("─", 78), s.p.bold("PLAYED IN THE TWIN"), t.Days, seconds(t.Took))
	fmt.Fprintf(s.w, "       %-20s %8s %6s %13s %10s %14s\n", "", "in time", "late", "charged twice", "left over", "all well after")
	line := func(mark, name string, o controller.DemoOutcome) {
		after := "never"
		if !math.IsInf(float64(o.Recovered), 1) {
			after = fmt.Sprintf("%.1fs", float64(o.Recovered))
		}
		fmt.Fprintf(s.w, "  %s  %-20s %8d %6d %13d %10d %14s\n", mark, name, o.BookedInTime, o.Late, o.DoubleCharged, o.Left, after)
	}
	names := map[api.Variant]string{api.VariantNone: "controller off", api.VariantNaive: "naive retry", api.VariantCurrent: "the playbooks"}
	for _, v := range t.Variants {
		mark := s.p.green("ok ")
		if !v.Holds() {
			mark = s.p.red("BAD")
		}
		line(mark, names[v.Variant], v.Middle())
	}
	line("   ", "this run, in earnest", t.Real)
	fmt.Fprintf(s.w, "       %d of the %d times to detect and to heal in this run are within the twin's 90 %% intervals\n", t.Inside, t.Compared)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
