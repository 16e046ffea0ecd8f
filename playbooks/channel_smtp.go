package playbooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

type smtpParams struct {
	Server   string     `json:"server" rule:"required" doc:"HOST:PORT of the mail server; port 465 speaks TLS from the start."`
	TLS      string     `json:"tls,omitempty" rule:"oneof=required|offered|none" default:"required" doc:"required: STARTTLS or no mail; offered: where the server has it; none: plain text, for a relay on this machine."`
	Username string     `json:"username,omitempty" doc:"For authentication; only ever sent over TLS."`
	Password api.Secret `json:"password,omitempty" doc:"{env: NAME} or {file: PATH}."`
	From     string     `json:"from" rule:"required" doc:"Sender address."`
	To       []string   `json:"to" rule:"required" doc:"Receiver addresses."`
}

var smtpChannel = ChannelDriver{
	Name: "smtp", Summary: "Sends a plain text mail.",
	Params: func() any { return new(smtpParams) },
	Build: func(in api.Integration, params any, env *Env) (tell, error) {
		p := params.(*smtpParams)
		host, port, err := net.SplitHostPort(p.Server)
		if err != nil || host == "" {
			return nil, fmt.Errorf("server %q is not HOST:PORT", p.Server)
		}
		for _, address := range append([]string{p.From}, p.To...) {
			if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address {
				return nil, fmt.Errorf("%q is not a plain mail address", address)
			}
		}
		if p.Username != "" && p.TLS == "none" {
			return nil, errors.New("a password is never sent without TLS; drop username or set tls: required")
		}
		m := &mailer{params: *p, host: host, implicit: port == "465", env: env}
		return m.tell, nil
	},
}

type mailer struct {
	params   smtpParams
	host     string
	implicit bool // TLS from the start
	env      *Env
}

// tell sends the mail. Once the text is handed over and no answer comes, nobody can tell whether it was sent.
func (m *mailer) tell(ctx context.Context, msg Message, key string) api.Outcome {
	start, sent := time.Now(), false
	err := m.send(ctx, mailText(m.params, msg, key, start), &sent)
	status := "250"
	if err != nil {
		status = plainError(err)
	}
	recordCall(ctx, api.CallFact{Target: "smtp " + m.params.Server, Try: 1, Status: status, Took: time.Since(start)})
	var answer *textproto.Error
	switch {
	case err == nil:
		return done("mail handed to %s", m.params.Server)
	case errors.As(err, &answer) && answer.Code >= 500:
		return refused("mail server %s: %s", m.params.Server, answer)
	case errors.As(err, &answer) || !sent:
		return failed("send mail by %s: %s", m.params.Server, plainError(err))
	}
	return unknown("send mail by %s: no answer after the text was handed over: %s", m.params.Server, plainError(err))
}

func (m *mailer) send(ctx context.Context, text []byte, sent *bool) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", m.params.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	settings := &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	if m.implicit {
		conn = tls.Client(conn, settings)
	}
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return err
	}
	if err := m.greet(c, settings); err != nil {
		return err
	}
	if err := c.Mail(m.params.From); err != nil {
		return err
	}
	for _, to := range m.params.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	*sent = true
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.Quit() // the mail was taken already
	return nil
}

// greet makes the connection safe and authenticates.
func (m *mailer) greet(c *smtp.Client, settings *tls.Config) error {
	offered, _ := c.Extension("STARTTLS")
	switch {
	case m.implicit || m.params.TLS == "none":
	case offered:
		if err := c.StartTLS(settings); err != nil {
			return err
		}
	case m.params.TLS != "offered":
		return errors.New("it does not offer STARTTLS, which tls: required demands")
	}
	if m.params.Username == "" {
		return nil
	}
	password, err := m.env.Secret(m.params.Password)
	if err != nil {
		return fmt.Errorf("read the mail password: %w", err)
	}
	return c.Auth(smtp.PlainAuth("", m.params.Username, password, m.host)) // refuses to speak without TLS
}

// mailText writes the mail. Header values come encoded, so a title cannot add a header.
func mailText(p smtpParams, msg Message, key string, at time.Time) []byte {
	title := msg.Title
	if msg.Resolved {
		title = "Resolved: " + title
	}
	id := sha256.Sum256([]byte(key + "\x00" + msg.Dedup + "\x00" + msg.Title))
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\n", p.From, strings.Join(p.To, ", "))
	fmt.Fprintf(&b, "Subject: %s\r\n", mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(title), " ")))
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%s@backstay>\r\n", at.Format(time.RFC1123Z), hex.EncodeToString(id[:16]))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	fmt.Fprintf(w, "%s\r\n\r\nSeverity: %s\r\n", strings.ReplaceAll(msg.Text, "\n", "\r\n"), msg.Severity)
	w.Close() // writes to memory: cannot go wrong
	return b.Bytes()
}
