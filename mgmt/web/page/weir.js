// The page asks for what it shows once a second, while somebody looks, and draws it. Nothing of what comes is ever taken for
// HTML: names are the configuration's, and go in as text.
"use strict";

const INTERVAL = 1000; // ms between looks
const HISTORY = 60; // rates that a line is drawn of
const ROWS = 200; // of a table; more are left to the command line

const by = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

// scaled is a rate for people: three digits and a prefix.
function scaled(x) {
  const prefixes = ["", "k", "M", "G", "T"];
  let i = 0;
  while (x >= 999.5 && i < prefixes.length - 1) {
    x /= 1000;
    i++;
  }
  return (i === 0 ? x.toFixed(0) : x.toPrecision(3)) + prefixes[i];
}

function duration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const i = parts.findIndex(([, size]) => seconds >= size);
  if (i < 0) return "0 s";
  const n = Math.floor(seconds / parts[i][1]);
  const rest = i + 1 < parts.length ? Math.floor((seconds % parts[i][1]) / parts[i + 1][1]) : 0;
  return `${n} ${parts[i][0]}` + (rest ? ` ${rest} ${parts[i + 1][0]}` : "");
}

function ago(time) {
  if (!time) return "never";
  const seconds = (Date.now() - new Date(time)) / 1000;
  return seconds < 2 ? "now" : duration(seconds) + " ago";
}

// A column: heading, how a cell gets its text from a row, and its class.
const text = (head, cell) => ({ head, cell, kind: "text" });
const word = (head, cell) => ({ head, cell, kind: "" });
const figure = (head, cell) => ({ head, cell, kind: "number" });

// draw fills a table with rows, and leaves cells that have not changed alone, so that what a reader has selected stays so.
function draw(id, columns, rows, empty) {
  const table = by(id);
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const c of columns) {
      const th = document.createElement("th");
      th.textContent = c.head;
      th.scope = "col";
      if (c.kind === "number") th.className = "number";
      head.append(th);
    }
    table.createTBody();
    table.createCaption();
  }
  const body = table.tBodies[0];
  const shown = rows.slice(0, ROWS);
  while (body.rows.length > shown.length) body.deleteRow(-1);
  while (body.rows.length < shown.length) {
    const row = body.insertRow();
    for (const c of columns) row.insertCell().className = c.kind;
  }
  shown.forEach((row, i) => columns.forEach((c, j) => {
    const cell = body.rows[i].cells[j];
    const value = c.cell(row);
    if (value instanceof Element) {
      cell.replaceChildren(value);
    } else if (cell.textContent !== String(value)) {
      cell.textContent = value;
    }
    if (c.style) cell.className = c.style(row);
  }));
  table.tHead.hidden = rows.length === 0;
  table.caption.textContent = rows.length === 0 ? empty : rows.length > ROWS ? `${number.format(rows.length - ROWS)} more are not shown here` : "";
}

// line draws rates over time.
function line(values) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "rate");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `last ${values.length} seconds, at most ${scaled(Math.max(0, ...values))} packets a second`);
  const top = Math.max(1, ...values);
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", values.map((v, i) => `${i ? "L" : "M"}${HISTORY - values.length + i} ${(9.5 - 9 * v / top).toFixed(2)}`).join(""));
  svg.append(path);
  return svg;
}

let last = null; // counters, as they were a look ago
const history = new Map(); // rates in and out, by port

const rate = (now, before, seconds) => (before === undefined || now < before || seconds <= 0 ? 0 : (now - before) / seconds);

function drawCounters(now) {
  const before = last && last.uptime_ns <= now.uptime_ns ? last : null; // a router that started anew counts from 0
  const seconds = before ? (now.uptime_ns - before.uptime_ns) / 1e9 : 0;
  const trouble = now.trouble ?? [];
  by("state").textContent = trouble.length ? "DEGRADED" : "running";
  by("state").className = "badge " + (trouble.length ? "bad" : "good");
  by("trouble").hidden = trouble.length === 0;
  by("trouble").textContent = trouble.join("\n");
  by("notices").hidden = !now.notices?.length;
  by("notices").textContent = (now.notices ?? []).join("\n");
  const facts = { generation: now.generation, up: duration(now.uptime_ns / 1e9), received: scaled(now.totals.received), transmitted: scaled(now.totals.transmitted), dropped: scaled(now.totals.dropped) };
  by("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const div = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    div.append(dt, dd);
    return div;
  }));

  const ports = (now.ports ?? []).map((p) => {
    const was = before?.ports?.find((o) => o.name === p.name);
    const of = (name) => rate(p[name], was?.[name], seconds);
    const sum = (drops) => Object.values(drops ?? {}).reduce((a, b) => a + b, 0);
    const kept = history.get(p.name) ?? [];
    if (before) kept.push(of("received") + of("transmitted"));
    if (kept.length > HISTORY) kept.shift();
    history.set(p.name, kept);
    return { ...p, of, dropped: sum(p.drops), dropping: rate(sum(p.drops), was ? sum(was.drops) : undefined, seconds), kept };
  });
  draw("ports", [
    word("port", (p) => p.name),
    { ...word("state", (p) => p.state + (p.reason ? ": " + p.reason : "")), style: (p) => (p.state === "up" ? "up" : "down") },
    word("mode", (p) => [p.mode, p.xdp, p.driver].filter(Boolean).join(" ")),
    figure("mtu", (p) => p.mtu),
    figure("in pkt/s", (p) => scaled(p.of("received"))),
    figure("in bit/s", (p) => scaled(8 * p.of("received_bytes"))),
    figure("out pkt/s", (p) => scaled(p.of("transmitted"))),
    figure("out bit/s", (p) => scaled(8 * p.of("transmitted_bytes"))),
    figure("drops/s", (p) => scaled(p.dropping)),
    { ...word("last minute", (p) => line(p.kept)), kind: "spark" },
    figure("received", (p) => number.format(p.received)),
    figure("transmitted", (p) => number.format(p.transmitted)),
    figure("dropped", (p) => number.format(p.dropped)),
  ], ports, "no ports");

  draw("workers", [
    figure("worker", (w) => w.worker),
    figure("CPU", (w) => w.cpu),
    figure("busy", (w) => {
      const was = before?.workers?.find((o) => o.worker === w.worker);
      if (!was) return "–";
      const time = w.uptime_ns - was.uptime_ns;
      return time > 0 ? Math.max(0, 100 * (1 - (w.asleep_ns - was.asleep_ns) / time)).toFixed(0) + " %" : "–";
    }),
    figure("pkt/s", (w) => scaled(rate(w.packets, before?.workers?.find((o) => o.worker === w.worker)?.packets, seconds))),
    figure("packets", (w) => number.format(w.packets)),
  ], now.workers ?? [], "no workers");
  last = now;
}

const hits = [figure("packets", (x) => number.format(x.packets)), figure("bytes", (x) => number.format(x.bytes)), word("last hit", (x) => ago(x.last_hit))];

function drawSystem(system) {
  by("host").textContent = system.hostname;
  by("host").title = `weir ${system.version}, ${system.file}`;
  document.title = system.hostname + " – weir";
}

function commitState(c) {
  if (c.pending) return "in force, to be confirmed";
  if (c.running) return "in force";
  return c.rolled_back ? "rolled back" : "";
}

const parts = {
  system: drawSystem,
  counters: drawCounters,
  drops: (list) => draw("drops", [
    word("reason", (d) => d.reason),
    figure("packets", (d) => number.format(d.packets)),
    text("meaning", (d) => d.help),
  ], list, "nothing was dropped"),
  rules: (list) => draw("rules", [figure("priority", (r) => r.priority), word("name", (r) => r.name), ...hits, text("rule", (r) => r.text)], list, "no rules"),
  marks: (list) => draw("marks", [word("chain", (s) => s.chain), word("name", (s) => s.name), ...hits, text("statement", (s) => s.text)], list, "nothing is marked"),
  tables: (list) => draw("tables", [
    figure("id", (t) => t.id), word("name", (t) => t.name), word("key", (t) => t.key), figure("routes", (t) => number.format(t.routes)), word("form", (t) => t.form),
    figure("answered", (t) => number.format(t.answered.packets)), figure("missed", (t) => number.format(t.missed.packets)),
    word("last answer", (t) => ago(t.answered.last_hit)), word("on miss", (t) => t.on_miss),
  ], list, "no tables"),
  neighbors: (list) => draw("neighbors", [
    word("address", (n) => n.address), word("port", (n) => n.port), word("MAC", (n) => n.mac ?? ""), word("state", (n) => n.state), word("last used", (n) => ago(n.last_used)),
  ], list, "no neighbours"),
  commits: (list) => draw("commits", [
    figure("number", (c) => c.number), word("when", (c) => ago(c.time)), word("by", (c) => [c.by.user, c.by.via && "via " + c.by.via].filter(Boolean).join(" ")),
    word("state", (c) => commitState(c)), text("comment", (c) => c.comment ?? ""),
  ], list, "no commits are kept"),
};

async function ask(what) {
  const response = await fetch("api/" + what);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

async function look() {
  const answers = await Promise.allSettled(Object.keys(parts).map(ask));
  Object.values(parts).forEach((show, i) => {
    if (answers[i].status === "fulfilled") show(answers[i].value);
  });
  if (answers[0].status === "rejected") {
    by("state").textContent = "no answer";
    by("state").className = "badge bad";
  }
}

async function explain(event) {
  event.preventDefault();
  const walk = by("walk");
  const packet = by("packet").value;
  try {
    const response = await fetch("api/explain?packet=" + encodeURIComponent(packet));
    walk.textContent = (await response.text()).trimEnd();
    walk.className = response.ok ? "" : "bad";
  } catch (error) {
    walk.textContent = "no answer: " + error.message;
    walk.className = "bad";
  }
  walk.hidden = false;
}

async function live() {
  for (;;) {
    if (!document.hidden) await look().catch(console.error);
    await new Promise((wake) => setTimeout(wake, INTERVAL));
  }
}

by("explain").querySelector("form").addEventListener("submit", explain);
live();
