package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes a page with the tables.
func (r *Report) WriteMarkdown(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.Title)
	for i := range r.Results {
		fmt.Fprintf(&b, "- **%s**: %s\n", r.Results[i].Procedure, headline(&r.Results[i]))
	}
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "\n## %s\n\n%s. Trials: %d.\n", s.Result.Procedure, s.Result.Standard, len(s.Result.Trials))
		if s.Result.Partial != "" {
			fmt.Fprintf(&b, "\n**Partial**: %s.\n", s.Result.Partial)
		}
		for _, t := range s.Tables {
			fmt.Fprintf(&b, "\n### %s\n\n", t.Title)
			markdownTable(&b, t)
		}
		var parameters []string
		for _, p := range s.Result.Parameters {
			parameters = append(parameters, p.Name+": "+p.Value)
		}
		for _, l := range []struct {
			title string
			items []string
		}{
			{"Parameters", parameters}, {"Deviations from the standard", s.Result.Deviations}, {"Not stated", s.Result.Refused},
		} {
			if len(l.items) > 0 {
				fmt.Fprintf(&b, "\n%s:\n\n- %s\n", l.title, strings.Join(l.items, "\n- "))
			}
		}
	}
	fmt.Fprintf(&b, "\n## Environment\n\n")
	markdownTable(&b, r.environmentTable())
	if t := r.testerTable(); len(t.Rows) > 1 {
		fmt.Fprintf(&b, "\n### %s\n\n", t.Title)
		markdownTable(&b, t)
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func markdownTable(b *strings.Builder, t table) {
	escape := strings.NewReplacer("|", `\|`, "\n", " ")
	for i, row := range t.Rows {
		for _, cell := range row {
			b.WriteString("| " + escape.Replace(cell) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
}
