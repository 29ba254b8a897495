// Package mgmt is the management plane: it turns the text of a configuration into a snapshot that workers can run,
// and puts that snapshot in force.
//
// # The walk of a configuration
//
//	text ── tree ──▶ nodes with positions ── sections ──▶ *policy.Policy ── policy.Compile ──▶ *policy.Snapshot
//	                                                                                                  │
//	                  running generation ◀── Router.Publish ◀── store ◀── Router.Prepare ◀── Engine ◀┘
//
// Load and Parse do the first line, and nothing but that: they need no privilege, no port and no running router, so
// `weir check` runs exactly what `weir run` runs. The Engine does the second line, one commit at a time. A failure
// anywhere before Publish leaves the running generation, and the disk, as they were.
//
// # Problems
//
// A configuration is refused as a whole, with everything that is wrong with it: a Problem has the file, line, column
// and path of the value it is about. Sections are decoded in the order in which they refer to one another (ports,
// tables, routes, marks, rules), never in that of the file; a section goes on after an error, so one pass finds all of
// them. Warnings do not refuse anything.
//
// # What to beware of
//
//   - Only the lexer of goccy/go-yaml is used, not its parser, whose time is quadratic in the number of keys of a
//     mapping and whose stack grows with it. The tree builder of mgmt/document is linear and bounded in depth; it knows
//     the YAML that a configuration needs and refuses the rest (anchors, aliases, tags, directives, complex keys,
//     further documents). A test holds it to goccy's parser.
//   - A scalar is text until a section says what it must be. So `reverse-path: off` is the word off whatever the
//     YAML version thinks of it, and `mac: 02:00:00:00:00:09` is no sexagesimal number.
//   - Routes that were read from a file share their next-hop slices. They are immutable, as fib.Route says.
//   - A key that a section gets must go into the schema too (schema.go), with its help; a test fails until it does.
//   - What this version does not support is refused by name: the list is in unsupported.go.
package mgmt
