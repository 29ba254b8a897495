package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/mgmt"
	"weir/mgmt/store"
	"weir/perf/lab"
)

// commit sends a configuration, and returns the report.
func (w *weir) commit(text string, words ...string) mgmt.Report {
	w.t.Helper()
	return w.send(strings.NewReader(text), append([]string{"commit"}, words...)...)
}

// send runs a command that answers with a report.
func (w *weir) send(stdin io.Reader, words ...string) (r mgmt.Report) {
	w.t.Helper()
	out, status, err := mgmt.CallWith(testContext(w.t), w.control, stdin, append(words, "|", "json")...)
	if err := json.Unmarshal(out, &r); err != nil || (status == mgmt.StatusOK) != r.OK() {
		w.t.Fatalf("%v: status %d, %v: %s", words, status, err, out)
	}
	need(w.t, err)
	return r
}

// good ends the test if a report is not.
func (w *weir) good(r mgmt.Report) mgmt.Report {
	w.t.Helper()
	if !r.OK() || r.Trouble != "" {
		w.t.Fatal(r.String())
	}
	return r
}

// refused ends the test if a report is not a failure that says something.
func (w *weir) refused(r mgmt.Report, want string) {
	w.t.Helper()
	if r.OK() || !strings.Contains(r.String(), want) {
		w.t.Fatalf("%s\nis not refused for %q", r.String(), want)
	}
}

// holds checks what runs, and what is on the disk.
func (w *weir) holds(text string) {
	w.t.Helper()
	if out, _ := w.call("show", "configuration"); out != text {
		w.t.Errorf("this runs:\n%s\ninstead of\n%s", out, text)
	}
	if file := string(must[[]byte](w.t)(os.ReadFile(w.file))); file != text {
		w.t.Errorf("the file is\n%s\ninstead of\n%s", file, text)
	}
}

// commits are those that are kept.
func (w *weir) commits() (list []store.Commit) {
	w.t.Helper()
	out, _ := w.call("show", "commits", "|", "json")
	need(w.t, json.Unmarshal([]byte(out), &list))
	return list
}

// TestCommitUnderTraffic: commits over the control socket, each of which changes where a flow goes, lose no packet, and say so.
func TestCommitUnderTraffic(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	w := n.start(uplinkPolicy(n, 0))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	uplinks := [2]*lab.UDPReceiver{listen(t, wan0, alternating[0]), listen(t, wan1, alternating[0])}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: uplinks[0].Address(), Flows: 4, Rate: perSecond(20_000), Size: 64})
	lost := uint64(0)
	for i := range 20 {
		to := uplinks[(i+1)%2]
		was := to.Report().Received
		r := w.good(w.commit(uplinkPolicy(n, (i+1)%2), "comment", mgmt.Quote(fmt.Sprintf("uplink %d", (i+1)%2))))
		if want := []string{"routes of other: 2 changed (0.0.0.0/0, ::/0)"}; !slices.Equal(r.Changed, want) || r.Number != i+2 || r.PersistMillis <= 0 {
			t.Fatalf("report %+v", r)
		}
		lost += r.PacketsLost
		eventually(t, "packets go the new way", func() (bool, any) {
			got := to.Report().Received
			return got > was, got
		})
	}
	stop()
	late := delivered(t, w, delivery{<-s, uplinks[:]})
	if lost > late {
		t.Errorf("reports count %d packets lost, of which the kernel dropped %d", lost, late)
	}
	w.holds(uplinkPolicy(n, 0))
	list := w.commits()
	if len(list) != 21 || list[0].Comment != "uplink 0" || list[0].By.User != "root" || list[0].By.Via != "control" {
		t.Errorf("commits %+v", list)
	}
}

// TestCommitConfirmed: what is not confirmed in time is rolled back, and packets go the old way again.
func TestCommitConfirmed(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	old, other := uplinkPolicy(n, 0), uplinkPolicy(n, 1)
	w := n.start(old)
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	uplinks := [2]*lab.UDPReceiver{listen(t, wan0, alternating[0]), listen(t, wan1, alternating[0])}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: uplinks[0].Address(), Rate: perSecond(5_000)})
	if r := w.good(w.commit(other, "confirmed", "60")); r.ConfirmBy == nil || !w.commits()[0].Pending {
		t.Errorf("report %+v, commits %+v", r, w.commits())
	}
	if out, _ := w.call("show", "counters"); !strings.Contains(out, "note: commit 2 (root via control) is rolled back to 1 at ") {
		t.Errorf("counters do not tell:\n%s", out)
	}
	w.good(w.commit(other, "confirmed", "0.02")) // a new deadline, soon
	eventually(t, "the commit is rolled back", func() (bool, any) {
		list := w.commits()
		return list[0].Undoes == 3, list
	})
	was := uplinks[0].Report().Received
	eventually(t, "packets go the old way", func() (bool, any) {
		got := uplinks[0].Report().Received
		return got > was, got
	})
	w.holds(old)
	const why = "commit 3 was not confirmed in time: rolled back to 1"
	if out, _ := w.call("show", "counters"); !strings.Contains(out, "note: commit 4: "+why) || !strings.Contains(w.process.Output(), why) {
		t.Errorf("nobody tells:\n%s", out)
	}

	w.good(w.commit(other, "confirmed"))
	w.good(w.send(nil, "abort"))
	w.holds(old)
	w.good(w.commit(other, "confirmed"))
	if out, status := w.call("confirm"); status != mgmt.StatusOK || out != "commit 7 is confirmed\n" {
		t.Errorf("confirm: %d, %s", status, out)
	}
	w.holds(other)
	w.good(w.send(nil, "rollback", "1", "comment", "back"))
	w.holds(old)
	stop()
	delivered(t, w, delivery{<-s, uplinks[:]})
	if text := w.look(); len(text.Trouble) > 0 {
		t.Errorf("trouble %v", text.Trouble)
	}
}

// TestKilledUnconfirmed: a router that is killed while a commit waits for its confirmation starts with the one before, and says why.
func TestKilledUnconfirmed(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	serve(t, n.ends[1], n.ends[2])
	old, other := uplinkPolicy(n, 0), uplinkPolicy(n, 1)
	w := n.start(old)
	w.good(w.commit(other, "confirmed", "60"))
	w.holds(other)
	w.kill()
	w.run()
	w.holds(old)
	const why = "commit 2 was not confirmed before weir ended: rolled back to 1"
	out, _ := w.call("show", "ports")
	if !strings.Contains(out, why) || !strings.Contains(w.process.Output(), why) || w.commits()[0].Comment != why || !w.commits()[1].RolledBack {
		t.Errorf("nobody tells:\n%s\n%+v", out, w.commits())
	}
}

// TestKilledInCommit kills the router in the middle of commits. It starts with one configuration or the other, whole.
func TestKilledInCommit(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	serve(t, n.ends[1], n.ends[2])
	configs := [2]string{uplinkPolicy(n, 0), uplinkPolicy(n, 1)}
	w := n.prepare(configs[0])
	runs := 0
	for i, at := range []string{"prepare 2", "write commits/2.json 1", "rename state.json 2", "rename weir.yaml 1", "sync weir.yaml 1", "publish 2", "rename state.json 3"} {
		w.env = []string{killAt + "=" + strings.ReplaceAll(at, "commits/2", fmt.Sprintf("commits/%d", len(w.records())+1))}
		w.run()
		_, _, err := mgmt.CallWith(testContext(t), w.control, strings.NewReader(configs[1-runs]), "commit")
		if err == nil {
			t.Fatalf("%s: the router lives", at)
		}
		w.kill()
		w.env = nil
		w.run()
		out, _ := w.call("show", "configuration")
		now := slices.Index(configs[:], out)
		if now < 0 || i <= 1 && now != runs || i >= 3 && now == runs {
			t.Errorf("killed before %s: configuration %d runs, and %d did", at, now, runs)
		}
		w.holds(out)
		runs = max(now, 0)
		list := w.commits()
		if !list[0].Running || list[0].Pending || len(w.look().Trouble) > 0 {
			t.Errorf("killed before %s: commits %+v", at, list)
		}
		w.kill()
	}
	w.run()
}

// records are those of the commits on the disk.
func (w *weir) records() []string {
	return must[[]string](w.t)(filepath.Glob(w.file + ".commits/commits/*.json"))
}

// TestCommitsAtOnce: of two commits that were made from the same configuration, one wins, and the other is told of it.
func TestCommitsAtOnce(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	w := n.start(uplinkPolicy(n, 0))
	base := w.commits()[0].Hash
	reports := make(chan mgmt.Report)
	for i := range 2 {
		go func() {
			out, _, _ := mgmt.CallWith(context.Background(), w.control, strings.NewReader(uplinkPolicy(n, 1)+fmt.Sprintf("# %d\n", i)), "commit", "base", base, "|", "json")
			var r mgmt.Report
			_ = json.Unmarshal(out, &r) // an empty report is not what is expected
			reports <- r
		}()
	}
	one, two := <-reports, <-reports
	if two.OK() {
		one, two = two, one
	}
	w.good(one)
	w.refused(two, "conflict")
	if !strings.Contains(two.Conflict, "root via control") || !strings.Contains(two.Conflict, "--- commit 1") || len(w.commits()) != 2 {
		t.Errorf("conflict %s, commits %+v", two.Conflict, w.commits())
	}
}

// mounted has a file system at a directory of the router's for the rest of the test.
func (w *weir) mounted(from, kind string, flags uintptr, data string) string {
	w.t.Helper()
	at := filepath.Join(w.dir, "conf")
	need(w.t, os.MkdirAll(at, 0o700))
	need(w.t, unix.Mount(from, at, kind, flags, data))
	w.t.Cleanup(func() { need(w.t, unix.Unmount(at, unix.MNT_DETACH)) })
	w.file = filepath.Join(at, "weir.yaml")
	return at
}

// TestDiskFull: what cannot be written is not committed; what runs goes on, and so does everything when there is room again.
func TestDiskFull(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	old, other := uplinkPolicy(n, 0), uplinkPolicy(n, 1)
	w := n.prepare(old)
	at := w.mounted("weir-test", "tmpfs", 0, "size=256k")
	w.write(old)
	w.run()
	fill := func() {
		t.Helper()
		f := must[*os.File](t)(os.Create(filepath.Join(at, "fill")))
		if _, err := io.Copy(f, zeros{}); err == nil {
			t.Fatal("the disk is not full")
		}
		f.Close()
	}
	fill()
	w.refused(w.commit(other), "no space left on device")
	w.holds(old)
	if g := w.look().Generation; g != 1 {
		t.Errorf("generation %d", g)
	}
	need(t, os.Remove(filepath.Join(at, "fill")))
	w.good(w.commit(other, "confirmed", "60"))
	fill()
	r := w.good(w.send(nil, "abort")) // it comes into force, whatever can be written
	if len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "commits are not kept") {
		t.Errorf("notices %v", r.Notices)
	}
	if out, _ := w.call("show", "configuration"); out != old {
		t.Errorf("this runs:\n%s", out)
	}
	w.kill()
	need(t, os.Remove(filepath.Join(at, "fill")))
	w.run() // the disk still says that it waits
	w.holds(old)
	w.good(w.commit(other))
	w.holds(other)
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestReadOnlyDisk: a router whose file nobody may write starts and reloads all the same.
func TestReadOnlyDisk(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	old, other := uplinkPolicy(n, 0), uplinkPolicy(n, 1)
	w := n.prepare(old)
	source := filepath.Join(w.dir, "source")
	need(t, os.Mkdir(source, 0o700))
	at := w.mounted(source, "", unix.MS_BIND, "")
	need(t, unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	written := func(text string) { need(t, os.WriteFile(filepath.Join(source, "weir.yaml"), []byte(text), 0o600)) }
	written(old)
	w.run()
	if out, _ := w.call("show", "counters"); !strings.Contains(out, "note: commits are not kept") {
		t.Errorf("counters do not tell:\n%s", out)
	}
	written(other)
	if g := w.reload(); g != 2 {
		t.Errorf("generation %d", g)
	}
	w.refused(w.commit(old), "read-only file system")
	w.holds(other)
	if s := w.look(); s.Generation != 2 || len(s.Trouble) > 0 {
		t.Errorf("generation %d, trouble %v", s.Generation, s.Trouble)
	}
}

// TestLastGoodRuns: a router whose file was broken while it was down runs what it ran before, and says so.
func TestLastGoodRuns(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0 := n.ends[0], n.ends[1]
	good := uplinkPolicy(n, 0)
	w := n.start(good)
	w.stop()
	for name, broken := range map[string]string{"unknown key": good + "rulez: []\n", "no such port": strings.Replace(good, "  em0:", "  em9:", 1)} {
		w.write(broken)
		if out := w.fails(); !strings.Contains(out, "em9") && !strings.Contains(out, "rulez") {
			t.Errorf("%s: %s", name, out)
		}
		w.run()
		n.warm([2]*end{from, wan0})
		if out, _ := w.call("show", "configuration"); out != good {
			t.Errorf("%s: this runs:\n%s", name, out)
		}
		s := w.look()
		if len(s.Trouble) != 1 || !strings.Contains(s.Trouble[0], "the last good one") || !strings.Contains(w.process.Output(), s.Trouble[0][:40]) {
			t.Errorf("%s: trouble %v", name, s.Trouble)
		}
		if file := string(must[[]byte](t)(os.ReadFile(w.file))); file != broken {
			t.Errorf("%s: the file is %s", name, file)
		}
		w.refused(w.commit(good), "edited on disk")
		w.good(w.commit(good+"# mended\n", "overwrite"))
		if s := w.look(); len(s.Trouble) != 0 {
			t.Errorf("%s: trouble %v", name, s.Trouble)
		}
		w.good(w.commit(good))
		w.holds(good)
		w.stop()
	}
	w.run()
}

// archived is a tar archive of a configuration and its routes-file.
func archived(t *testing.T, text, name, routes string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	archive := tar.NewWriter(&b)
	for _, f := range []struct{ name, text string }{{"./weir.yaml", text}, {name, routes}} {
		need(t, archive.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.text))}))
		_, err := io.WriteString(archive, f.text)
		need(t, err)
	}
	need(t, archive.Close())
	return &b
}

// TestArchive: a configuration comes with its routes-files in a tar archive, and a rollback brings the earlier ones back.
func TestArchive(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	text := n.config("tables: {x: {id: 100, routes-file: routes/x.routes}}\nrules: [{priority: 100, name: x, lookup: x}]\n")
	w := n.prepare(text)
	routes := filepath.Join(w.dir, "routes", "x.routes")
	need(t, os.Mkdir(filepath.Dir(routes), 0o700), os.WriteFile(routes, []byte("blackhole 203.0.113.0/24\n"), 0o600))
	w.run()
	r := w.good(w.send(archived(t, text, "./routes/x.routes", "prohibit 203.0.113.0/24\nblackhole 198.51.100.0/24\n"), "reload"))
	if want := []string{"routes of x: 1 added (198.51.100.0/24), 1 changed (203.0.113.0/24)"}; !slices.Equal(r.Changed, want) {
		t.Errorf("changed %q", r.Changed)
	}
	if got := string(must[[]byte](t)(os.ReadFile(routes))); !strings.HasPrefix(got, "prohibit") {
		t.Errorf("routes %q", got)
	}
	w.good(w.send(nil, "rollback", "1"))
	if got := string(must[[]byte](t)(os.ReadFile(routes))); got != "blackhole 203.0.113.0/24\n" {
		t.Errorf("routes %q", got)
	}
}

// TestCommitCommandLine: the commands as a user types them.
func TestCommitCommandLine(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	old, other := uplinkPolicy(n, 0), uplinkPolicy(n, 1)
	w := n.start(old)
	run := func(stdin string, want int, args ...string) string {
		t.Helper()
		command := exec.Command(executable(t), append(args, "--control", w.control)...)
		command.Env = append(os.Environ(), asWeir+"=1", "GORACE=atexit_sleep_ms=0")
		command.Stdin = strings.NewReader(stdin)
		out, _ := command.CombinedOutput()
		if got := command.ProcessState.ExitCode(); got != want {
			t.Fatalf("%v: status %d, %s", args, got, out)
		}
		return string(out)
	}
	if out := run(other, 0, "commit", "confirmed", "30", "comment", "the other | uplink"); !strings.Contains(out, "commit 2, generation 2") || !strings.Contains(out, "confirm it by") {
		t.Errorf("commit:\n%s", out)
	} else if long := slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return len(line) > 80 }); long {
		t.Errorf("lines of more than 80 columns:\n%s", out)
	}
	if out := run("", 0, "show", "commits"); !strings.Contains(out, "[to be confirmed] the other | uplink") {
		t.Errorf("commits:\n%s", out)
	}
	if out := run("", 0, "confirm"); out != "commit 2 is confirmed\n" {
		t.Errorf("confirm: %s", out)
	}
	run("", 1, "confirm")
	if out := run("", 0, "compare", "1"); !strings.Contains(out, "--- commit 1\n+++ running\n") {
		t.Errorf("compare:\n%s", out)
	}
	if out := run(old, 0, "compare", "-c", "-"); !strings.Contains(out, "--- running\n+++ candidate\n") {
		t.Errorf("compare:\n%s", out)
	}
	if out := run("", 0, "compare"); out != "" {
		t.Errorf("compare:\n%s", out)
	}
	run("", 0, "rollback", "1", "comment", "back")
	w.holds(old)
	run("", 1, "abort")
	if out := run(old+"rulez: []\n", 1, "commit"); !strings.Contains(out, "weir.yaml:"+fmt.Sprint(1+strings.Count(old, "\n"))+":1: ") {
		t.Errorf("commit:\n%s", out)
	}
	run("", 1, "commit")
	run(old, 2, "commit", "sometimes")
}
