// Package web is the page of a running router, for people who would rather look than type: ports with live rates, drops by
// reason, rules, marks and tables with their hits, neighbours, commits, and a form that explains what becomes of a packet. It
// only reads.
//
// The page is plain HTML, a style sheet and a script, embedded here, and asks nobody else for anything. What it shows it gets
// from the same commands that the control socket answers, as JSON: package web knows none of them but by name.
package web

import (
	"context"
	"embed"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Ask runs a command that only reads and returns its output; ok is false where it was refused, and the output says why.
type Ask func(ctx context.Context, command string) (output []byte, ok bool)

//go:embed page
var files embed.FS

// commands are what the page may ask for, by the path below /api/.
var commands = map[string]string{
	"system":    "show system | json",
	"counters":  "show counters | json",
	"drops":     "show drops | json",
	"rules":     "show rules | json",
	"marks":     "show marks | json",
	"tables":    "show tables | json",
	"neighbors": "show neighbors | json",
	"commits":   "show commits | json",
}

const (
	// askedAtOnce bounds the commands under way: reading hits is a publication to the workers.
	askedAtOnce = 4
	askPatience = 10 * time.Second
	packetMax   = 1024 // bytes of a packet's description
)

// Handler answers requests for the page, below /, and for what it shows, below /api/. Requests that name another host
// than an address, localhost or one of the names are refused: a page of somebody else's must not read this one by giving its own
// name our address (DNS rebinding).
func Handler(ask Ask, names func() []string) http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // of embedded files
	}
	a := &api{ask: ask, turns: make(chan struct{}, askedAtOnce)}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	mux.HandleFunc("GET /api/{what}", a.show)
	mux.HandleFunc("GET /api/explain", a.explain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !known(r.Host, names()) {
			http.Error(w, "this router is not called "+clean(r.Host)+": use its address", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// known reports whether a request's Host names this router.
func known(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	for _, name := range names {
		if name != "" && strings.EqualFold(host, name) {
			return true
		}
	}
	return false
}

// clean keeps what can stand in a host name.
func clean(host string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return -1
	}, host[:min(len(host), 255)])
}

type api struct {
	ask   Ask
	turns chan struct{}
}

// show answers with what a command has.
func (a *api) show(w http.ResponseWriter, r *http.Request) {
	command, ok := commands[r.PathValue("what")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	a.answer(w, r, command, "application/json")
}

// explain answers with the walk of a packet: as text, which a browser without scripts shows as it is, or as JSON.
func (a *api) explain(w http.ResponseWriter, r *http.Request) {
	words := strings.Fields(r.FormValue("packet"))
	packet := strings.Join(words, " ")
	switch {
	case len(words) == 0:
		http.Error(w, "packet is missing: describe it as in iif=em0 src=192.0.2.9 dst=198.51.100.7", http.StatusBadRequest)
		return
	case len(packet) > packetMax:
		http.Error(w, "packet is described in more than 1024 bytes", http.StatusBadRequest)
		return
	case strings.ContainsAny(packet, "|"):
		http.Error(w, "a packet is described by NAME=VALUE, without |", http.StatusBadRequest)
		return
	}
	if r.FormValue("format") == "json" {
		a.answer(w, r, "explain "+packet+" | json", "application/json")
		return
	}
	a.answer(w, r, "explain "+packet, "text/plain; charset=utf-8")
}

// answer runs a command when it is its turn.
func (a *api) answer(w http.ResponseWriter, r *http.Request, command, contentType string) {
	ctx, cancel := context.WithTimeout(r.Context(), askPatience)
	defer cancel()
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		http.Error(w, "too many ask at once", http.StatusServiceUnavailable)
		return
	}
	output, ok := a.ask(ctx, command)
	if !ok {
		http.Error(w, strings.TrimSuffix(string(output), "\n"), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(output) // who does not take it has gone
}
