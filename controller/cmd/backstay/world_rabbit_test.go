package main

type letters struct{}

var rabbitCommands = map[string]command{}
