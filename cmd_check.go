package main

func cmdCheck(line *cmdLine) error { return nil }
