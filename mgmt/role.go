package mgmt

import "fmt"

// Role is what a caller may do. The zero Role may do nothing; each of the others may do what the ones before it may.
type Role uint8

// Roles.
const (
	NoRole   Role = iota
	ReadOnly      // looks: show, explain
	Operator      // also measures: monitor, capture, clear, tests
	Admin         // also changes the configuration
)

var roleNames = [...]string{"none", "read-only", "operator", "admin"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// MarshalText makes JSON say the name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
