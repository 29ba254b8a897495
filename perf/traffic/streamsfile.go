package traffic

import (
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ReadStreams reads a file of streams:
//
//	streams:
//	  - name: web
//	    from: 10.0.0.2              # an address, a prefix, or first-last
//	    to: 198.51.100.0/24         # or `prefixes: FILE`, with a prefix a line (.gz too)
//	    proto: tcp                  # udp unless said, icmp
//	    sport: 1024-65535
//	    dport: 443
//	    flows: 1000                 # 1 unless said
//	    choice: zipf 1.0            # uniform unless said
//	    size: imix                  # 64, or what the headers take, unless said; or a mix such as 64x7,570x4,1518x1
//	    weight: 3                   # 1 unless said
//	    dscp: 46
//	    vlan: 100
//
// Errors have the place: FILE:LINE:COLUMN, and the path of what is wrong.
func ReadStreams(file string) ([]Stream, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read streams: %w", err)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, placed(file, err)
	}
	var content struct {
		Streams []fields `yaml:"streams"`
	}
	if err := yaml.UnmarshalWithOptions(text, &content, yaml.Strict()); err != nil {
		return nil, placed(file, err)
	}
	if len(content.Streams) == 0 {
		return nil, fmt.Errorf("read streams: %s: there are none: expected a list under `streams:`", file)
	}
	var list []Stream
	for i := range content.Streams {
		s, err := content.Streams[i].stream()
		if err != nil {
			path := fmt.Sprintf("streams[%d]", i)
			place := position(tree, "$."+path)
			var in *fieldError
			if errors.As(err, &in) {
				if field := position(tree, "$."+path+"."+in.name); field != "" { // else it is missing
					path, place = path+"."+in.name, field
				}
			}
			return nil, fmt.Errorf("read streams: %s%s: %s: %w", file, place, path, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// placed says where the library found an error.
func placed(file string, err error) error {
	var found yaml.Error
	if errors.As(err, &found) && found.GetToken() != nil {
		at := found.GetToken().Position
		return fmt.Errorf("read streams: %s:%d:%d: %s", file, at.Line, at.Column, found.GetMessage())
	}
	return fmt.Errorf("read streams: %s: %w", file, err)
}

// position is where a node is, as :LINE:COLUMN; "" if there is none.
func position(tree *ast.File, path string) string {
	p, err := yaml.PathString(path)
	if err != nil {
		return ""
	}
	node, err := p.FilterFile(tree)
	if err != nil || node == nil || node.GetToken() == nil {
		return ""
	}
	at := node.GetToken().Position
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 { // whose own token is the first colon
		at = m.Values[0].Key.GetToken().Position
	}
	return fmt.Sprintf(":%d:%d", at.Line, at.Column)
}
