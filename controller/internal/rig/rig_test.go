package rig

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

func TestServersComeAndGo(t *testing.T) {
	var dir string
	t.Run("postgres", func(t *testing.T) {
		pg := PostgreSQL(t)
		dir = pg.dir
		c, err := pgx.Connect(context.Background(), pg.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		var one int
		if err := c.QueryRow(context.Background(), "select 1").Scan(&one); err != nil || one != 1 {
			t.Fatalf("select 1: %d, %v", one, err)
		}
	})
	if dir != "" {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	t.Run("mariadb", func(t *testing.T) {
		if err := MariaDB(t).ping(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("haproxy", func(t *testing.T) {
		front := local(Port(t))
		HAProxy(t, "frontend f\n  bind "+front+"\n  http-request return status 200 content-type text/plain string hello\n")
		resp, err := http.Get("http://" + front)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hello" {
			t.Fatalf("got %q, %v", text, err)
		}
	})
	t.Run("stripe", func(t *testing.T) {
		req, err := http.NewRequest(http.MethodGet, StripeMock(t).URL+"/v1/payment_intents/pi_1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk_test_1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "payment_intent") {
			t.Fatalf("got %q, %v", text, err)
		}
	})
}

func TestRabbitMQSurvivesAKill(t *testing.T) {
	r := OwnRabbitMQ(t)
	declare := func() {
		t.Helper()
		c, err := amqp.Dial(r.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ch, err := c.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	declare()
	r.Kill()
	if c, err := amqp.Dial(r.URL); err == nil {
		c.Close()
		t.Fatal("the broker still answers after Kill")
	}
	r.Start(t)
	declare()
}
