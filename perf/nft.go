package perf

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weir/perf/lab"
)

// nftProgram is nft(8) (Debian: nftables).
const nftProgram = "nft"

// nftRuleset is the mark statements of the load in nftables' words, at the place where weir has them: before routing.
func (l *Load) nftRuleset() string {
	var b strings.Builder
	b.WriteString("table ip marks {\nchain main {\ntype filter hook prerouting priority mangle\n")
	for i := range l.Marks {
		fmt.Fprintf(&b, "ip saddr %s meta mark set 0x1\n", l.source(i))
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// useNFT gives the router's kernel the mark statements of the load.
func (r *running) useNFT(ctx context.Context, load *Load) error {
	r.stops = append(r.stops, func() error { // whatever became of ctx
		return r.bed.nft(context.WithoutCancel(ctx), "table ip marks\ndelete table ip marks\n")
	})
	return r.bed.nft(ctx, load.nftRuleset())
}

func (t *testbed) nft(ctx context.Context, commands string) error {
	p, err := t.router.Start(ctx, lab.Command{Name: nftProgram, Args: []string{"-f", "-"}, Stdin: strings.NewReader(commands)})
	if err == nil {
		err = p.Wait()
		if err != nil {
			err = errors.Join(err, errors.New(strings.TrimSpace(p.Output())))
		}
	}
	if err != nil {
		return fmt.Errorf("give nft statements: %w", err)
	}
	return nil
}
