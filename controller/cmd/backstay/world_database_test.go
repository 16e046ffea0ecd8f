package main

type session struct{}

type orders struct{}

func (o *orders) end() {}

var databaseCommands = map[string]command{}
