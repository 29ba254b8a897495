package mgmt

import (
	"bytes"
	"net/netip"
	"slices"
)

// SSH is who may come in by SSH, and where.
type SSH struct {
	Listen []netip.AddrPort
	Users  []SSHUser
}

// SSHUser is somebody who may come in.
type SSHUser struct {
	Name string
	Role Role
	Keys []SSHKey
}

// SSHKey is a public key.
type SSHKey struct {
	Type    string
	Blob    []byte // its wire form (RFC 4253 section 6.6)
	Comment string
}

const (
	sshListenMax = 32 // addresses
	sshUsersMax  = 1000
	sshKeysMax   = 100 // of a user
)

var (
	sshKeys     = section{name: "system.ssh", keys: []string{"listen", "users"}}
	sshUserKeys = section{name: "system.ssh.users", keys: []string{"role", "keys"}}
)

func (d *decoder) decodeSSH(n *node, p *path) {
	ssh := &SSH{}
	listen, users := false, false
	isMapping := d.fields(n, p, &sshKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "listen":
			listen = true
			d.decodeSSHListen(v, p, ssh)
		case "users":
			users = true
			d.decodeSSHUsers(v, p, ssh)
		}
	})
	d.required(n, p, "listen", listen || !isMapping)
	d.required(n, p, "users", users || !isMapping)
	d.system.SSH = ssh
}

func (d *decoder) decodeSSHListen(n *node, p *path, ssh *SSH) {
	const what = "an address and a port such as 0.0.0.0:22 or [::]:22"
	if n.kind == nothing || n.kind == sequence && len(n.items) == 0 {
		d.errorf(n.at, p, "no address to listen on; expected such as [\"0.0.0.0:22\", \"[::]:22\"], or no `ssh` at all")
		return
	}
	d.list(n, p, "addresses such as 0.0.0.0:22", func(i int, v *node, p *path) {
		if i == sshListenMax {
			d.errorf(v.at, p, "more than %d addresses", sshListenMax)
		}
		if i >= sshListenMax {
			return
		}
		at := d.listenAddress(v, p, what)
		switch {
		case !at.IsValid():
		case slices.Contains(ssh.Listen, at):
			d.errorf(v.at, p, "%s is given twice", at)
		default:
			ssh.Listen = append(ssh.Listen, at)
		}
	})
}

func (d *decoder) decodeSSHUsers(n *node, p *path, ssh *SSH) {
	before := d.found.errors
	if n.kind == nothing || n.kind == mapping && len(n.keys) == 0 {
		d.errorf(n.at, p, "no users: nobody could log in; expected such as alice: {role: admin, keys: [\"ssh-ed25519 AAAA… alice\"]}")
		return
	}
	d.entries(n, p, "user names to roles and keys", func(k key, v *node, p *path) {
		if len(ssh.Users) == sshUsersMax {
			d.errorf(k.at, p, "more than %d users", sshUsersMax)
			return
		}
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
			return
		}
		ssh.Users = append(ssh.Users, d.decodeSSHUser(k.text, v, p))
	})
	if d.found.errors == before && !slices.ContainsFunc(ssh.Users, func(u SSHUser) bool { return u.Role == Admin }) {
		d.warnf(n.at, p, "no user has the role admin, so nobody can change the configuration by SSH")
	}
}

func (d *decoder) decodeSSHUser(name string, n *node, p *path) SSHUser {
	user := SSHUser{Name: name}
	role, keys := false, false
	isMapping := d.fields(n, p, &sshUserKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "role":
			role = true
			word, _ := d.word(v, p, Admin.String(), Operator.String(), ReadOnly.String())
			for r := ReadOnly; r <= Admin; r++ {
				if word == r.String() {
					user.Role = r
				}
			}
		case "keys":
			keys = true
			d.decodeSSHKeys(v, p, &user)
		}
	})
	d.required(n, p, "role", role || !isMapping)
	d.required(n, p, "keys", keys || !isMapping)
	return user
}

func (d *decoder) decodeSSHKeys(n *node, p *path, user *SSHUser) {
	if n.kind == nothing || n.kind == sequence && len(n.items) == 0 {
		d.errorf(n.at, p, "no keys: %s could not log in", user.Name)
		return
	}
	d.list(n, p, "public keys such as \"ssh-ed25519 AAAA… alice\"", func(i int, v *node, p *path) {
		if i == sshKeysMax {
			d.errorf(v.at, p, "more than %d keys", sshKeysMax)
		}
		if i >= sshKeysMax {
			return
		}
		text, ok := d.text(v, p, "a public key such as \"ssh-ed25519 AAAA… alice\"")
		if !ok {
			return
		}
		key, wrong := parseSSHKey(text)
		if wrong != "" {
			d.errorf(v.at, p, "%s", wrong)
			return
		}
		if first := slices.IndexFunc(user.Keys, func(k SSHKey) bool { return bytes.Equal(k.Blob, key.Blob) }); first >= 0 {
			d.errorf(v.at, p, "the key is given twice")
			return
		}
		user.Keys = append(user.Keys, key)
	})
}
