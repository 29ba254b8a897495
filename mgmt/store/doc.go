// Package store keeps commits on disk: the texts, the routes-files that belong to them, who made them and when, and the
// commit that waits for its confirmation. It knows files and nothing of what is in them.
//
// It is a directory beside the configuration:
//
//	weir.yaml.commits/
//	  commits/N.yaml   the text of commit N, byte for byte
//	  commits/N.json   the rest about it: a Commit
//	  blobs/SHA256     routes-files by what is in them, so that commits share them
//	  state.json       a State: which commit runs, which is being installed, which waits for its confirmation
//	  edited/          files that were edited by hand and then replaced
//	  lock             held by the process that uses the directory
//
// # Crashes
//
// Every file is written whole: to a temporary one, which is synced, renamed, and the directory synced. A commit has several
// files, and the one that decides is state.json. Install writes there what it is about to put in place before it touches
// a file outside of the directory; Open finds that after a crash and Resume finishes it. What a crash leaves before is a
// record that no state names, which Open removes; so a number is used again only if nobody has seen it.
//
// # Concurrency
//
// A Store's methods may be called by any goroutine, but only one at a time may change something: the engine's turn.
package store
