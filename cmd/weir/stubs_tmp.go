package main

type showCommand struct{}
type reloadCommand struct{}
type labCommand struct{}
type perfCommand struct{}
