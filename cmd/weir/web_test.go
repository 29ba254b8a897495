package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdpnetwork "github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"weir/mgmt"
	"weir/perf/lab"
)

// forward makes an address of the router's own namespace one of the machine's loopback, for a browser. It returns that.
func (n *network) forward(address string) string {
	n.t.Helper()
	l := must[net.Listener](n.t)(net.Listen("tcp", "127.0.0.1:0"))
	var carrying sync.WaitGroup
	n.t.Cleanup(func() { l.Close(); carrying.Wait() })
	carrying.Go(func() {
		for {
			browser, err := l.Accept()
			if err != nil {
				return
			}
			carrying.Go(func() {
				defer browser.Close()
				var router net.Conn
				if err := n.router.Do(func() (err error) {
					router, err = net.Dial("tcp", address)
					return err
				}); err != nil {
					return // as the browser sees
				}
				defer router.Close()
				carrying.Go(func() { _, _ = io.Copy(router, browser); router.(*net.TCPConn).CloseWrite() })
				_, _ = io.Copy(browser, router)
			})
		}
	})
	return l.Addr().String()
}

// browser starts Chromium for a test, which fails where Chromium is not installed but the tests have to be complete.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("chromium is not installed")
	}
	dir := must[string](t)(os.MkdirTemp("", "weir-test-"))
	// The browser's processes do not all end with the first of them, and write for as long as they live.
	t.Cleanup(func() {
		eventually(t, "the browser's directory goes", func() (bool, any) { err := os.RemoveAll(dir); return err == nil, err })
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 1600))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	begun := ctx
	t.Cleanup(func() { _ = chromedp.Cancel(begun) }) // waits for the end of the first
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// text is what an element shows.
func text(t *testing.T, ctx context.Context, selector string) (s string) {
	t.Helper()
	need(t, chromedp.Run(ctx, chromedp.Text(selector, &s, chromedp.ByQuery)))
	return s
}

// TestPage: a browser shows the running router: live rates of its ports, rules with their hits, drops by reason, the walk of a
// packet; hostile names are text; nothing comes from elsewhere; a router in trouble, and one that is gone, are seen as such.
func TestPage(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	const hostile = "iif=<img/src=x/onerror=alert(1)>"
	config := n.config(fmt.Sprintf(`
system: {hostname: edge1, metrics: {listen: %q}}
tables:
  main: {id: 254, routes: [{to: 198.51.100.0/24, type: blackhole}]}
marks: {main: [{name: voice, match: {proto: udp, dport: 7000}, then: [{mark: 0x10/0xff}]}]}
rules: [{name: voiced, priority: 200, fwmark: 0x10/0xff, action: nop}]
`, metricsAt))
	w := n.start(config)
	n.warm([2]*end{from, to})
	ctx := browser(t)
	base := "http://" + n.forward(metricsAt) + "/"
	var mu sync.Mutex
	var foreign, wrong []string
	chromedp.ListenTarget(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *cdpnetwork.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, base) {
				foreign = append(foreign, e.Request.URL)
			}
		case *cdpnetwork.EventResponseReceived:
			if e.Response.Status >= 400 && !strings.Contains(e.Response.URL, "explain") {
				wrong = append(wrong, fmt.Sprint(e.Response.Status, " ", e.Response.URL))
			}
		case *cdpruntime.EventExceptionThrown:
			wrong = append(wrong, e.ExceptionDetails.Error())
		}
	})

	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	streaming, stop := context.WithCancel(t.Context())
	streams := stream(streaming, from.Host, lab.UDPOptions{To: receiver.Address(), Size: 64, Rate: perSecond(5_000)})
	from.sent(spec{src: from.addr4(), dst: netip.MustParseAddr("198.51.100.1"), id: 1})
	need(t, chromedp.Run(ctx, cdpnetwork.Enable(), chromedp.Navigate(base), chromedp.WaitVisible("#ports tbody tr:nth-child(2)", chromedp.ByQuery)))
	eventually(t, "the page shows rates, hits and drops", func() (bool, any) {
		var in float64
		var busy, hits, drops string
		err := chromedp.Run(ctx,
			chromedp.Evaluate(`(() => { const t = document.querySelector("#ports tbody tr td:nth-child(5)").textContent; return parseFloat(t) * (t.endsWith("k") ? 1000 : 1); })()`, &in),
			chromedp.Evaluate(`[...document.querySelectorAll("#rules tbody tr")].map((r) => [...r.cells].map((c) => c.textContent).join(" ")).join("\n")`, &hits),
			chromedp.Evaluate(`document.querySelector("#workers tbody td:nth-child(3)").textContent`, &busy),
			chromedp.Evaluate(`document.querySelector("#drops").innerText`, &drops))
		return err == nil && in > 1000 && in < 20_000 && strings.Contains(hits, "200 voiced ") && !strings.Contains(hits, "200 voiced 0 ") &&
				strings.HasSuffix(busy, "%") && strings.Contains(drops, "blackhole"),
			fmt.Sprintf("%v packets a second, busy %s\n%s\n%s: %v", in, busy, hits, drops, err)
	})
	for selector, want := range map[string]string{"#host": "edge1", "#state": "running", "#marks": "voice", "#tables": "main", "#neighbors": to.addr4().String()} {
		if got := text(t, ctx, selector); !strings.Contains(got, want) {
			t.Errorf("%s shows %q, without %q", selector, got, want)
		}
	}

	explain := func(packet string) string {
		t.Helper()
		need(t, chromedp.Run(ctx,
			chromedp.Evaluate(`document.getElementById("walk").hidden = true`, nil),
			chromedp.SetValue("#packet", packet, chromedp.ByQuery), chromedp.Click("#explain button", chromedp.ByQuery), chromedp.WaitVisible("#walk", chromedp.ByQuery)))
		return text(t, ctx, "#walk")
	}
	packet := fmt.Sprintf("iif=em0 src=%s dst=%s proto=udp dport=7000", from.addr4(), to.addr4())
	for _, c := range [][2]string{
		{packet, "FORWARD on link at em1"},
		{"iif=em0 src=" + from.addr4().String() + " dst=198.51.100.1", "BLACKHOLE"},
		{"iif=em7 src=192.0.2.1 dst=198.51.100.1", "em7"},
		{"x | json", "without |"},
		{hostile, "<img/src=x/onerror=alert(1)>"},
	} {
		if got := explain(c[0]); !strings.Contains(got, c[1]) {
			t.Errorf("explain %s shows %q, without %q", c[0], got, c[1])
		}
	}
	stop()
	<-streams

	// Commits: one that is to be confirmed, and then is not.
	shows := func(selector string, want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s shows %q", selector, want), func() (bool, any) {
			got := strings.Join(strings.Fields(text(t, ctx, selector)), " ")
			return !slices.ContainsFunc(want, func(s string) bool { return !strings.Contains(got, s) }), got
		})
	}
	shows("#commits", "1 ", " via boot in force")
	w.good(w.commit(config+"# more\n", "confirmed", "60", "comment", hostile))
	shows("#commits", "root via control in force, to be confirmed "+hostile)
	shows("#notices", "commit 2 (root via control) is rolled back to 1 at ")
	w.good(w.send(nil, "abort"))
	shows("#commits", "root via control in force commit 2 was aborted: rolled back to 1", "root via control rolled back "+hostile)
	shows("#notices", "commit 3: commit 2 was aborted: rolled back to 1")

	var images int
	if need(t, chromedp.Run(ctx, chromedp.Evaluate("document.images.length", &images))); images > 0 {
		t.Error("text became an element")
	}

	// For programs and for people without scripts, and not for pages of others.
	ask := func(host, path string) (int, string) {
		t.Helper()
		request := must[*http.Request](t)(http.NewRequest("GET", base+path, nil))
		if host != "" {
			request.Host = host
		}
		response := must[*http.Response](t)(http.DefaultClient.Do(request))
		defer response.Body.Close()
		return response.StatusCode, string(must[[]byte](t)(io.ReadAll(response.Body)))
	}
	if status, out := ask("", "healthz"); status != 200 || out != "ok\n" {
		t.Errorf("healthz: %d %s", status, out)
	}
	if status, out := ask("", "api/rules"); status != 200 || !json.Valid([]byte(out)) {
		t.Errorf("rules: %d %s", status, out)
	}
	if status, _ := ask("edge1:9550", ""); status != 200 {
		t.Errorf("by its host name: %d", status)
	}
	for _, host := range []string{"evil.example", "evil.example:9550", "127.0.0.1.evil.example"} {
		if status, out := ask(host, "api/rules"); status != http.StatusMisdirectedRequest || strings.Contains(out, "voice") {
			t.Errorf("asked as %s: %d %s", host, status, out)
		}
	}
	if status, _ := ask("", "api/reload"); status != 404 {
		t.Errorf("a command that is not the page's: %d", status)
	}
	if status, out := ask("", "api/explain?packet="+strings.Repeat("a", 2000)); status != 400 {
		t.Errorf("a long packet: %d %s", status, out)
	}

	// In trouble: the other end of a link goes away.
	need(t, n.router.SetDown("em1"))
	w.unbalanced = true
	eventually(t, "the page shows that em1 is down", func() (bool, any) {
		got := text(t, ctx, "#ports")
		return strings.Contains(got, "down"), got
	})
	need(t, n.router.SetUp("em1"))
	if dir := os.Getenv("WEIR_PICTURES"); dir != "" { // for people to look at
		var picture []byte
		need(t, chromedp.Run(ctx, chromedp.FullScreenshot(&picture, 100)))
		need(t, os.WriteFile(dir+"/page.png", picture, 0o644))
	}
	w.stop()
	eventually(t, "the page shows that nobody answers", func() (bool, any) {
		got := text(t, ctx, "#state")
		return got == "no answer", got
	})
	mu.Lock()
	defer mu.Unlock()
	if len(foreign) > 0 || len(wrong) > 0 {
		t.Errorf("asked elsewhere: %q\nwent wrong: %q", foreign, wrong)
	}
}

// TestHealth: a worker that does not move shows, and again when it does.
func TestHealth(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(fmt.Sprintf("system: {workers: [0], metrics: {listen: %q}}\n", metricsAt)))
	health := func() string {
		connection, err := net.Conn(nil), error(nil)
		need(t, n.router.Do(func() error { connection, err = net.Dial("tcp", metricsAt); return err }))
		defer connection.Close()
		_, err = io.WriteString(connection, "GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
		need(t, err)
		answer := must[[]byte](t)(io.ReadAll(connection))
		status, _, _ := bytes.Cut(answer, []byte("\r\n"))
		return string(status) + string(answer[bytes.LastIndex(answer, []byte("\r\n\r\n"))+4:])
	}
	becomes := func(want string) {
		t.Helper()
		eventually(t, "health becomes "+want, func() (bool, any) { got := health(); return strings.Contains(got, want), got })
	}
	becomes("200 OKok")
	release := w.hold(0)
	becomes("503 Service Unavailableworkers do not move: [0]")
	release()
	becomes("200 OKok")
	if out, status := w.call("explain", "iif=em0", "src="+n.ends[0].addr4().String(), "dst="+n.ends[1].addr4().String()); status != mgmt.StatusOK || !strings.Contains(out, "FORWARD") {
		t.Errorf("explain over the control socket: %d %s", status, out)
	}
}
