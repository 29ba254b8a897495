package mgmt

// Author is who asks for something.
type Author struct {
	User        string `json:"user,omitempty"`
	Source      string `json:"source,omitempty"`      // address and port
	Fingerprint string `json:"fingerprint,omitempty"` // of the SSH key
	Via         string `json:"via"`                   // ssh, control, signal, boot, web
}
