package ssh

import (
	"encoding/json"
	"fmt"

	"weir/mgmt"
)

// committed lists the commits that are kept as files, and what is known of each.
func committed(engine *mgmt.Engine) (commits, reports []*file) {
	for _, c := range engine.Commits() {
		commits = append(commits, &file{name: fmt.Sprintf("%d.yaml", c.Number), mode: 0o444, changed: c.Time, read: func() ([]byte, error) {
			change, err := engine.CommitText(c.Number)
			return change.Text, err
		}})
		reports = append(reports, &file{name: fmt.Sprintf("%d.json", c.Number), mode: 0o444, changed: c.Time, read: func() ([]byte, error) {
			text, err := json.MarshalIndent(c, "", "  ")
			return append(text, '\n'), err
		}})
	}
	return commits, reports
}
