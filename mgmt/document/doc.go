// Package document is the text of a configuration as a tree that is edited in place: by commands in the manner of Junos' set and delete,
// by merging, by replacing a part. What an edit does not touch is never written anew, so comments, order and formatting of the rest survive
// byte for byte, and what is new is written as what is around it is.
//
//	text ── lexer ── tree builder ──▶ Node, with positions ──▶ mgmt's decoder
//	                     │
//	                     └── with the bytes of each token ──▶ Document ── Set, Delete, … ──▶ text
//
// The tree builder serves both: there is one grammar. A Document holds every byte of its text in one node or another, and Parse refuses a text for
// which that does not come out right, rather than damage it.
//
// # Words
//
// A line of words leads into a configuration by the keys and names that stand in it:
//
//	set ports em0 addresses 192.0.2.1/24         a list of values gets one more; [ a b ] stands for several
//	set rules gold priority 100                  entries of a list are called by what names them: name, to or from, address, gateway,
//	set rules [3] priority 100                   or by their index where they have no name; the index behind the last one makes a new one
//	set tables main routes default metric 20 via 10.0.0.2     a route is told from others by metric and tos too, as in Linux
//	set marks main web match dport not 80        a negated condition
//	set marks main web then drop                 what ends a statement replaces what ended it before
//	delete ports em0 addresses 192.0.2.1/24
//	insert marks main web before mail            where the order of a list means something
//
// SetCommands writes any valid configuration in this form, without loss. Words and Line are the way from a line to words and back, with quotes as in a
// shell. A Schema says what the words may be; the table of weir's configuration is in mgmt, and is given to Parse. Only the form is checked here: what a
// configuration means, mgmt.Parse says.
//
// # What to beware of
//
//   - An edit happens as a whole or not at all, and an edited document may still not be a configuration.
//   - Comments on lines of their own stay when what is below them goes. Those on its line, and within it, go with it.
//   - A section without a meaning of its own (Schema.Stays) goes with the last thing that is in it.
//   - Time is linear in the size of a text to parse it, and to write it; an edit takes that of its path, and now and then that of the list that it changes.
//     The benchmarks have figures.
package document
