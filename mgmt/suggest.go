package mgmt

import (
	"iter"

	"weir/mgmt/document"
)

// suggest is the method suggest for those who have no list of problems.
func suggest(unknown string, known iter.Seq[string]) string { return document.Suggest(unknown, known) }

// suggest is document.Suggest, unless another message would not be listed anyway.
func (d *decoder) suggest(unknown string, known iter.Seq[string]) string {
	if d.found.full() {
		return ""
	}
	return suggest(unknown, known)
}
