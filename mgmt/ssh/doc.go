// Package ssh lets people and programs manage the router by SSH, with the same command tree as the control socket: a command
// (exec), a shell with or without a terminal, and files (sftp).
//
//	listener ── admission ── handshake ──▶ connection ──▶ session ──┬─ exec ──┐
//	             limits        keys          role,        channel   ├─ shell ─┼─▶ mgmt.Command
//	                                         keep-alive             └─ sftp   │
//	                                                                          └─▶ audit log
//
// The Server is a mgmt.Service: a commit opens and closes listeners and replaces users. Sessions outlive a change of
// listeners; those of a user or key that is gone end.
//
// A shell is a stack of modes (mode.go): operational, and above it configuration (configure.go: the mode; edit.go, load.go and candidatecommit.go: its commands),
// where a session has a candidate of its own. What users send by sftp gets into it, and what a session leaves comes out of it, only when
// somebody says so: nothing that was half done is committed by another command.
//
// # What to beware of
//
//   - Who somebody is comes from the Permissions of his connection alone, which the library fills with what the key that has
//     been proven brought: a client may ask about other keys before (CVE-2024-45337). What he may do is looked up
//     anew for each command, so a change of role needs no new connection.
//   - Nothing that a client does may hold up the router. A session runs on goroutines of its own and no lock is held while it reads
//     or writes; a client that takes nothing for a minute is cut off.
//   - What goes to a terminal passes the escaper: names, comments and addresses may have been chosen by somebody hostile.
package ssh
