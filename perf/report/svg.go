package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// plot is lines over two axes.
type plot struct {
	title string
	x, y  axis
	lines []line
}

type axis struct {
	label string
	log   bool
	zero  bool   // begins at 0
	ticks []tick // nil: found
}

type tick struct {
	at    float64
	label string
}

type line struct {
	name   string
	points []point
	theory bool // dashed, without marks: was not measured
	plain  bool // without marks: has too many points
}

type point struct{ x, y float64 }

// Measures of a plot, in units that a page scales.
const (
	plotWidth, plotHeight             = 820, 340
	marginLeft, marginRight           = 74, 206
	marginTop, marginBottom           = 34, 48
	areaWidth                         = plotWidth - marginLeft - marginRight
	areaHeight                        = plotHeight - marginTop - marginBottom
	legendLeft, legendStep, colorsMax = plotWidth - marginRight + 16, 19, 7
)

// scale maps values of an axis to 0…1.
type scale struct {
	from, to float64
	log      bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		return (math.Log(v) - math.Log(s.from)) / (math.Log(s.to) - math.Log(s.from))
	}
	return (v - s.from) / (s.to - s.from)
}

// scaled finds an axis's scale and ticks for its values.
func (a *axis) scaled(values []float64) (scale, []tick) {
	from, to := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !a.log || v > 0 {
			from, to = min(from, v), max(to, v)
		}
	}
	for _, t := range a.ticks {
		from, to = min(from, t.at), max(to, t.at)
	}
	if a.zero && !a.log {
		from = min(0, from)
	}
	if from == to {
		from, to = from-math.Abs(from)/2, to+math.Abs(to)/2
	}
	if from == to {
		to = from + 1
	}
	if a.ticks != nil {
		return scale{from, to, a.log}, a.ticks
	}
	if a.log {
		return logScale(from, to)
	}
	return linearScale(from, to)
}

// linearScale has about five ticks of 1, 2 or 5 times a power of ten.
func linearScale(from, to float64) (scale, []tick) {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/5)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if (to-from)/(step*factor) <= 6 {
			step *= factor
			break
		}
	}
	s := scale{from: step * math.Floor(from/step+1e-9), to: step * math.Ceil(to/step-1e-9)}
	var ticks []tick
	for n := 0; ; n++ {
		at := s.from + float64(n)*step
		if at > s.to+step/2 {
			return s, ticks
		}
		ticks = append(ticks, tick{at, tickText(at)})
	}
}

// logScale has ticks at powers of ten, and between them where there are few.
func logScale(from, to float64) (scale, []tick) {
	first, last := math.Floor(math.Log10(from)+1e-9), math.Ceil(math.Log10(to)-1e-9)
	if first == last {
		last++
	}
	factors := []float64{1}
	if last-first <= 2 {
		factors = []float64{1, 2, 5}
	}
	var ticks []tick
	for power := first; power <= last; power++ {
		for _, factor := range factors {
			if at := factor * math.Pow(10, power); at <= math.Pow(10, last)*1.0001 {
				ticks = append(ticks, tick{at, tickText(at)})
			}
		}
	}
	return scale{math.Pow(10, first), math.Pow(10, last), true}, ticks
}

// tickText leaves out what floating point adds.
func tickText(v float64) string {
	if v == 0 || math.Abs(v) < 1e-12 {
		return "0"
	}
	return strconv.FormatFloat(v, 'g', 7, 64)
}

// svg draws. Colours come from the page's style, by class.
func (p *plot) svg() template.HTML {
	var xs, ys []float64
	for _, l := range p.lines {
		for _, at := range l.points {
			xs, ys = append(xs, at.x), append(ys, at.y)
		}
	}
	if len(xs) == 0 {
		return ""
	}
	x, xTicks := p.x.scaled(xs)
	y, yTicks := p.y.scaled(ys)
	left := func(v float64) float64 { return marginLeft + areaWidth*x.at(v) }
	top := func(v float64) float64 { return marginTop + areaHeight*(1-y.at(v)) }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, html.EscapeString(p.title))
	fmt.Fprintf(&b, `<text class="title" x="%d" y="18">%s</text>`, marginLeft, html.EscapeString(p.title))
	for _, t := range xTicks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, left(t.at), left(t.at), marginTop, marginTop+areaHeight)
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%d" text-anchor="middle">%s</text>`, left(t.at), marginTop+areaHeight+16, html.EscapeString(t.label))
	}
	for _, t := range yTicks {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, marginLeft+areaWidth, top(t.at), top(t.at))
		fmt.Fprintf(&b, `<text class="tick" x="%d" y="%.1f" text-anchor="end">%s</text>`, marginLeft-8, top(t.at)+4, html.EscapeString(t.label))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dV%dH%d"/>`, marginLeft, marginTop, marginTop+areaHeight, marginLeft+areaWidth)
	fmt.Fprintf(&b, `<text class="label" x="%d" y="%d" text-anchor="middle">%s</text>`, marginLeft+areaWidth/2, plotHeight-8, html.EscapeString(p.x.label))
	fmt.Fprintf(&b, `<text class="label" transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`, marginTop+areaHeight/2, html.EscapeString(p.y.label))
	color := 0
	for i, l := range p.lines {
		class := "theory"
		if !l.theory {
			class = fmt.Sprintf("s%d", color%colorsMax)
			color++
		}
		l.draw(&b, class, left, top, func(at point) bool { return (!x.log || at.x > 0) && (!y.log || at.y > 0) })
		height := marginTop + 8 + legendStep*i
		fmt.Fprintf(&b, `<path class="line %s" d="M%d %dh22"/>`, class, legendLeft, height)
		if !l.theory && !l.plain {
			b.WriteString(mark(class, legendLeft+11, float64(height)))
		}
		fmt.Fprintf(&b, `<text class="legend" x="%d" y="%d">%s</text>`, legendLeft+28, height+4, html.EscapeString(l.name))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // everything that is not ours is escaped above
}

func (l *line) draw(b *strings.Builder, class string, left, top func(float64) float64, shown func(point) bool) {
	var path, marks strings.Builder
	pen := "M"
	for _, at := range l.points {
		if !shown(at) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, left(at.x), top(at.y))
		pen = "L"
		if !l.theory && !l.plain {
			marks.WriteString(mark(class, left(at.x), top(at.y)))
		}
	}
	fmt.Fprintf(b, `<path class="line %s" d="%s"/>%s`, class, path.String(), marks.String())
}

// mark has a shape for each colour, so that lines can be told apart without.
func mark(class string, x, y float64) string {
	shapes := []string{"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-4 -4h8v8h-8z", "M0 -5L5 4H-5z", "M0 -5L5 0L0 5L-5 0z", "M0 5L5 -4H-5z",
		"M-4 -1.5h2.5v-2.5h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5z", "M-5 -2h10v4h-10z"}
	n, _ := strconv.Atoi(strings.TrimPrefix(class, "s"))
	return fmt.Sprintf(`<path class="mark %s" transform="translate(%.1f %.1f)" d="%s"/>`, class, x, y, shapes[n%len(shapes)])
}
