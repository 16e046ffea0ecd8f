package main

var auditCommands = map[string]command{}
