package policy

import (
	"fmt"
	"strings"
)

// CompileError is one thing that is wrong with a Policy, or, among the warnings, probably not meant. The indexes say
// where, in the Policy as given to Compile, so that a caller can point into the file that it was made from; each is -1
// where it does not apply.
type CompileError struct {
	Port      int // of Policy.Ports
	Neighbor  int // of Policy.Neighbors
	Table     int // of Policy.Tables
	Route     int // of Policy.Tables[Table].Routes
	Rule      int // of Policy.Rules
	Chain     int // of Policy.Marks
	Statement int // of Policy.Marks[Chain].Statements
	By        int // of what is named besides: another rule of Policy.Rules, or another statement of the same chain

	Msg string // what is wrong, without the place

	place string // for people: "table x: route 10.0.0.0/8"
}

// Error is the place and the message.
func (e *CompileError) Error() string {
	if e.place == "" {
		return e.Msg
	}
	return e.place + ": " + e.Msg
}

// CompileErrors is everything that is wrong with a Policy, in the order ports, neighbours, tables, marks, rules. It is what
// Compile returns; get at it with errors.As.
type CompileErrors []*CompileError

// Error has one line for each.
func (e CompileErrors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each of them.
func (e CompileErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// report collects what is wrong.
type report struct {
	policy   *Policy
	errors   CompileErrors
	warnings []*CompileError
	gaveUp   []*CompileError // warnings of what lint has not looked at
}

// at is a place in the policy, to add errors and warnings to.
type at struct {
	report *report
	err    CompileError
}

func (r *report) nowhere() at {
	return at{r, CompileError{Port: -1, Neighbor: -1, Table: -1, Route: -1, Rule: -1, Chain: -1, Statement: -1, By: -1}}
}

func (r *report) port(i int) at {
	a := r.nowhere()
	a.err.Port, a.err.place = i, "port "+r.policy.Ports[i].Name
	return a
}

func (r *report) neighbor(i int) at {
	a := r.nowhere()
	a.err.Neighbor, a.err.place = i, "neighbor "+r.policy.Neighbors[i].Neighbor.Addr.String()
	return a
}

func (r *report) table(i int) at {
	a := r.nowhere()
	a.err.Table, a.err.place = i, "table "+r.policy.Tables[i].Name
	return a
}

func (r *report) route(table, i int) at {
	a := r.table(table)
	a.err.Route, a.err.place = i, a.err.place+": route "+r.policy.Tables[table].Routes[i].Prefix.String()
	return a
}

func (r *report) rule(i int) at {
	a := r.nowhere()
	a.err.Rule, a.err.place = i, "rule "+r.policy.Rules[i].Name
	return a
}

func (r *report) chain(i int) at {
	a := r.nowhere()
	a.err.Chain, a.err.place = i, "chain "+r.policy.Marks[i].Name
	return a
}

func (r *report) statement(chain, i int) at {
	a := r.chain(chain)
	a.err.Statement, a.err.place = i, a.err.place+": statement "+r.policy.Marks[chain].Statements[i].Name
	return a
}

func (a at) errorf(format string, args ...any) {
	e := a.err
	e.Msg = fmt.Sprintf(format, args...)
	a.report.errors = append(a.report.errors, &e)
}

func (a at) warnf(format string, args ...any) {
	e := a.err
	e.Msg = fmt.Sprintf(format, args...)
	a.report.warnings = append(a.report.warnings, &e)
}
