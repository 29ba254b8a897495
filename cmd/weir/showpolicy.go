package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"weir/appliance"
	"weir/mgmt"
	"weir/policy"
)

// policyCommands show what the items of the policy have seen.
func policyCommands(engine *mgmt.Engine, router *appliance.Router) []*mgmt.Command {
	show := func(name, argument, help string, names func(*policy.Policy) []string, run func(h appliance.Hits, only string) (value any, text func() string, err error)) *mgmt.Command {
		return &mgmt.Command{Name: name, Help: help, Arguments: "[" + argument + "]", Complete: first(engine, names), Run: func(ctx context.Context, r *mgmt.Request) (any, error) {
			if len(r.Args) > 1 {
				return nil, &mgmt.UsageError{Message: fmt.Sprintf("show %s [%s]", name, argument)}
			}
			h := router.Hits(ctx)
			if h.Snapshot == nil {
				return nil, fmt.Errorf("nothing runs")
			}
			value, text, err := run(h, strings.Join(r.Args, ""))
			switch {
			case err != nil:
				return nil, err
			case r.JSON:
				return value, nil
			case h.Late != nil:
				return fmt.Sprintf("DEGRADED: the latest packets are missing: %v\n%s", h.Late, text()), nil
			}
			return text(), nil
		}}
	}
	return []*mgmt.Command{
		show("rules", "NAME", "rules in the order of the walk, and what each has matched", ruleNames, func(h appliance.Hits, only string) (any, func() string, error) {
			rules, err := named(h.Rules(), only, "rule", func(r appliance.RuleState) string { return r.Name })
			return rules, func() string { return rulesText(rules) }, err
		}),
		show("marks", "CHAIN", "statements that stamp packets, and what each has matched", chainNames, func(h appliance.Hits, only string) (any, func() string, error) {
			list, err := named(h.Statements(), only, "chain", func(s appliance.StatementState) string { return s.Chain })
			return list, func() string { return marksText(list) }, err
		}),
		show("tables", "NAME", "routing tables and their answers; of one, its routes", tableNames, func(h appliance.Hits, only string) (any, func() string, error) {
			if only == "" {
				tables := h.Tables()
				return tables, func() string { return tablesText(tables) }, nil
			}
			routes, ok := h.Routes(only)
			if !ok {
				return nil, nil, fmt.Errorf("no table is called %s", only)
			}
			return orEmpty(routes), func() string { return routesText(routes) }, nil
		}),
		routes(engine, router),
	}
}

// routes shows the routes of a table, and of main where none is named: show routes [table NAME].
func routes(engine *mgmt.Engine, router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "routes", Help: "routes of a table; of main, unless one is named", Arguments: "[table NAME]",
		Complete: func(args []string) (list []mgmt.Candidate) {
			switch {
			case len(args) == 0:
				list = append(list, mgmt.Candidate{Text: "table", Help: "of another table than main"})
			case len(args) == 1 && args[0] == "table":
				list = first(engine, tableNames)(nil)
			}
			return list
		},
		Run: func(ctx context.Context, r *mgmt.Request) (any, error) {
			name := "main"
			switch {
			case len(r.Args) == 2 && r.Args[0] == "table":
				name = r.Args[1]
			case len(r.Args) > 0:
				return nil, &mgmt.UsageError{Message: "show routes [table NAME]"}
			}
			routes, ok := router.Hits(ctx).Routes(name)
			switch {
			case !ok:
				return nil, fmt.Errorf("no table is called %s", name)
			case r.JSON:
				return orEmpty(routes), nil
			}
			return routesText(routes), nil
		}}
}

// first completes the first argument of a command with names of the running policy.
func first(engine *mgmt.Engine, names func(*policy.Policy) []string) func(args []string) []mgmt.Candidate {
	return func(args []string) (list []mgmt.Candidate) {
		config, _ := engine.Running()
		if config == nil || len(args) > 0 {
			return nil
		}
		for _, name := range names(config.Policy) {
			list = append(list, mgmt.Candidate{Text: name})
		}
		return list
	}
}

func ruleNames(p *policy.Policy) (names []string) {
	for i := range p.Rules {
		names = append(names, p.Rules[i].Name)
	}
	return names
}

func chainNames(p *policy.Policy) (names []string) {
	for i := range p.Marks {
		names = append(names, p.Marks[i].Name)
	}
	return names
}

func tableNames(p *policy.Policy) (names []string) {
	for i := range p.Tables {
		names = append(names, p.Tables[i].Name)
	}
	return names
}

// named keeps the items of one name, or all where none is asked for.
func named[T any](all []T, only, what string, name func(T) string) ([]T, error) {
	if only == "" {
		return orEmpty(all), nil
	}
	kept := slices.DeleteFunc(all, func(x T) bool { return name(x) != only })
	if len(kept) == 0 {
		return nil, fmt.Errorf("no %s is called %s", what, only)
	}
	return kept, nil
}

// orEmpty makes JSON say [] rather than null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func rulesText(rules []appliance.RuleState) string {
	return table(func(row func(...any)) {
		row("PRIORITY", "NAME", "PACKETS", "BYTES", "LAST HIT", "RULE")
		for _, r := range rules {
			row(r.Priority, r.Name, r.Packets, r.Bytes, lastHit(r.HitState), r.Text)
		}
	})
}

func marksText(list []appliance.StatementState) string {
	if len(list) == 0 {
		return "no chain main, so nothing is marked\n"
	}
	return table(func(row func(...any)) {
		row("CHAIN", "NAME", "PACKETS", "BYTES", "LAST HIT", "STATEMENT")
		for _, s := range list {
			row(s.Chain, s.Name, s.Packets, s.Bytes, lastHit(s.HitState), s.Text)
		}
	})
}

func tablesText(tables []appliance.TableState) string {
	return table(func(row func(...any)) {
		row("ID", "NAME", "KEY", "ROUTES", "FORM", "ANSWERED", "MISSED", "LAST ANSWER", "LAST MISS", "ON MISS")
		for _, t := range tables {
			row(t.ID, t.Name, t.Key, t.Routes, t.Form, t.Answered.Packets, t.Missed.Packets, lastHit(t.Answered), lastHit(t.Missed), t.OnMiss)
		}
	})
}

func routesText(routes []appliance.RouteState) string {
	if len(routes) == 0 {
		return "no routes\n"
	}
	counted := slices.ContainsFunc(routes, func(r appliance.RouteState) bool { return r.Hits != nil })
	return table(func(row func(...any)) {
		if !counted {
			row("PREFIX", "ORIGIN", "ROUTE")
		} else {
			row("PREFIX", "PACKETS", "BYTES", "LAST HIT", "ORIGIN", "ROUTE")
		}
		for _, r := range routes {
			switch {
			case !counted:
				row(r.Prefix, r.Origin, r.Text)
			case r.Hits == nil:
				row(r.Prefix, "-", "-", "-", r.Origin, r.Text)
			default:
				row(r.Prefix, r.Hits.Packets, r.Hits.Bytes, lastHit(*r.Hits), r.Origin, r.Text)
			}
		}
	})
}

// lastHit is how long ago the last packet came.
func lastHit(h appliance.HitState) string { return ago(h.LastHit, "never") }
