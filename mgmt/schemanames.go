package mgmt

import (
	"slices"

	"weir/mgmt/document"
)

// What a value of the configuration can name, as far as the configuration has it.

func portNames(d *document.Document) []string {
	var names []string
	for _, port := range d.Names("ports") {
		names = append(names, port)
		names = append(names, vlanNames(d, port, "ports", port)...)
	}
	return names
}

// vlanNames are the names of the VLANs of a port, whose words are given, and of those within them.
func vlanNames(d *document.Document, port string, words ...string) (names []string) {
	for _, vlan := range d.Names(append(slices.Clone(words), "vlans")...) {
		inner := append(slices.Clone(words), "vlans", vlan)
		name, ok := d.Value(append(slices.Clone(inner), "name")...)
		if !ok {
			name = port + "." + vlan
		}
		names = append(names, name)
		if len(inner) < 6 {
			names = append(names, vlanNames(d, name, inner...)...)
		}
	}
	return names
}

func tableNames(d *document.Document) []string {
	names := d.Names("tables")
	for i := range builtin {
		if !slices.Contains(names, builtin[i].Name) {
			names = append(names, builtin[i].Name)
		}
	}
	return names
}

func setNames(d *document.Document) []string {
	names := d.Names("sets")
	for i := range names {
		names[i] = "$" + names[i]
	}
	return names
}

func tagNames(d *document.Document) []string { return d.Names("tags") }

func chainNames(d *document.Document) []string { return d.Names("marks") }

// groupNames are those that ports are in, or that have numbers.
func groupNames(d *document.Document) []string {
	names := d.Names("groups")
	add := func(words ...string) {
		if group, ok := d.Value(append(words, "group")...); ok && !slices.Contains(names, group) {
			names = append(names, group)
		}
	}
	for _, port := range d.Names("ports") {
		add("ports", port)
		for _, vlan := range d.Names("ports", port, "vlans") {
			add("ports", port, "vlans", vlan)
			for _, inner := range d.Names("ports", port, "vlans", vlan, "vlans") {
				add("ports", port, "vlans", vlan, "vlans", inner)
			}
		}
	}
	return names
}
