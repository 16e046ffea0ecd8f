// Package rig starts throw-away servers for tests: HAProxy, RabbitMQ, PostgreSQL, MariaDB, stripe-mock and a payment gateway
// that keeps a ledger. Each listens on free loopback ports and keeps its files in a folder of its own, so a test never
// touches a service that it did not start.
//
// A server belongs to a small watcher process that holds the reading end of a pipe. When the test binary goes away, by its
// own will, by a panic or by SIGKILL, the pipe closes and the watcher ends the server and removes its folder: nothing stays
// behind. Only tests import this package.
package rig
