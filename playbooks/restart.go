package playbooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/api"
)

type restartParams struct {
	Command []string     `json:"command" rule:"required" doc:"The command and its arguments, as a list: [/usr/bin/systemctl, restart, worker]. There is no shell. The command must be on the controller's allow-list."`
	Target  string       `json:"target,omitempty" doc:"What is restarted, such as worker/outbox: no two remediations work on it at once. The command itself when left out."`
	Repeat  api.Repeat   `json:"repeat,omitempty" rule:"oneof=idempotent|blind" default:"blind" doc:"idempotent where running it twice is the same as once, as with restarting a service."`
	Exit    *exitParams  `json:"exit,omitempty" doc:"What exit codes mean, beside 0 for done."`
	Grace   api.Duration `json:"grace,omitempty" rule:"max=1m" default:"2s" doc:"Between asking the command to end (SIGTERM) and ending it (SIGKILL), at the deadline."`
}

type exitParams struct {
	Refused []int `json:"refused,omitempty" doc:"Codes that mean a no without effect, such as 5 of systemctl: no such unit."`
	Failed  []int `json:"failed,omitempty" doc:"Codes that mean that there definitely was no effect. Any other code but 0 leaves it open."`
}

var restartInfo = api.ActionInfo{
	Name: "restart", Version: "1", Effect: api.EffectRestart, Danger: api.D1, Repeat: api.Blind,
	Summary: "Runs one allow-listed command: absolute path, list of arguments, no shell, clean environment, own process group, ended at the deadline.",
}

// commandOutputMax is how much of a command's output is kept, in bytes.
const commandOutputMax = 4 << 10

var restart = Action{
	Info:   restartInfo,
	Params: func() any { return new(restartParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*restartParams)
		command := p.Command[0]
		if !filepath.IsAbs(command) || filepath.Clean(command) != command {
			return nil, api.StepPlan{}, fmt.Errorf("command %q is not a plain absolute path", command)
		}
		if !slices.Contains(env.Commands, command) {
			return nil, api.StepPlan{}, fmt.Errorf("command %s is not on the allow-list of this controller, which has: %s", command, strings.Join(env.Commands, ", "))
		}
		for _, arg := range p.Command {
			if strings.ContainsRune(arg, 0) {
				return nil, api.StepPlan{}, errors.New("an argument has a NUL byte")
			}
		}
		info := restartInfo
		if p.Repeat != "" {
			info.Repeat = p.Repeat
		}
		target := p.Target
		if target == "" {
			target = "command/" + strings.Join(p.Command, " ")
		}
		r := &restartRun{command: p.Command, grace: p.Grace.Duration}
		if p.Exit != nil {
			r.exit = *p.Exit
		}
		return r, planOf(step, info, target), nil
	},
}

type restartRun struct {
	command []string
	exit    exitParams
	grace   time.Duration
}

// Run runs the command. It ends before the context's deadline: SIGTERM to the whole process group a grace earlier, SIGKILL then.
// A command that had to be ended has an unknown outcome.
func (r *restartRun) Run(ctx context.Context, call Call) api.Outcome {
	ctx, cancel := earlier(ctx, r.grace+100*time.Millisecond)
	defer cancel()
	if ctx.Err() != nil {
		return failed("the deadline has passed; the command was not started")
	}
	output := &tail{most: commandOutputMax}
	cmd := exec.Command(r.command[0], r.command[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/", "BACKSTAY_KEY=" + call.Key}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = r.grace // a child of the command may hold its output open
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return failed("start %s: %s", r.command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	stopped := false
	select {
	case err = <-ended:
	case <-ctx.Done():
		stopped = true
		err = r.stop(cmd.Process, ended)
	}
	facts := []api.Fact{
		{Name: "command", Value: strings.Join(r.command, " ")},
		{Name: "took", Value: time.Since(start).Round(time.Millisecond).String()},
		{Name: "output", Value: api.Redact(output.String())},
	}
	return withFacts(r.outcome(err, stopped), facts)
}

// stop ends the process group.
func (r *restartRun) stop(p *os.Process, ended <-chan error) error {
	syscall.Kill(-p.Pid, syscall.SIGTERM) // an error means that it has ended
	select {
	case err := <-ended:
		syscall.Kill(-p.Pid, syscall.SIGKILL) // children that stayed behind in the group
		return err
	case <-time.After(r.grace):
	}
	syscall.Kill(-p.Pid, syscall.SIGKILL)
	return <-ended
}

func (r *restartRun) outcome(err error, stopped bool) api.Outcome {
	name := filepath.Base(r.command[0])
	var exit *exec.ExitError
	switch {
	case stopped:
		return unknown("%s had not ended by the deadline and was ended; what it did is not known", name)
	case err == nil:
		return done("%s ended with 0", name)
	case errors.Is(err, exec.ErrWaitDelay):
		return done("%s ended with 0; a process that it started goes on", name)
	case !errors.As(err, &exit):
		return unknown("%s: %s", name, err)
	case !exit.Exited():
		return unknown("%s was ended by %s", name, exit.String())
	case slices.Contains(r.exit.Refused, exit.ExitCode()):
		return refused("%s ended with %d, which means a no", name, exit.ExitCode())
	case slices.Contains(r.exit.Failed, exit.ExitCode()):
		return failed("%s ended with %d, which means that it had no effect", name, exit.ExitCode())
	}
	return unknown("%s ended with %d; whether it had an effect is not known, because exit does not say what this code means", name, exit.ExitCode())
}

// earlier is a context that ends some time before another one's deadline.
func earlier(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-by))
}

// tail keeps the last bytes that are written to it.
type tail struct {
	most int
	buf  bytes.Buffer
	cut  bool
}

// Write never refuses, so that a talkative command is not stopped by its own output.
func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	if len(b) > t.most {
		b, t.cut = b[len(b)-t.most:], true
	}
	if over := t.buf.Len() + len(b) - t.most; over > 0 {
		t.buf.Next(over)
		t.cut = true
	}
	t.buf.Write(b)
	return n, nil
}

// String is what was kept, as valid text.
func (t *tail) String() string {
	text := strings.ToValidUTF8(t.buf.String(), "?")
	if t.cut {
		return "… " + text
	}
	return text
}
