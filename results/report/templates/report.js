// What the pages of a report do: choose methods and pairs, sort tables, draw charts.
// Everything here is beyond the HTML, which can be read without it. Texts of a report are only ever
// set as text or compared, never parsed as HTML or code.
(() => {
"use strict";
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const dark = matchMedia("(prefers-color-scheme: dark)");
const single = "single" in document.body.dataset;

// ---- addresses: #PAGE:PART?STATE in a single file, #PART?STATE in a folder ----------------------

function place() {
  const [where, state = ""] = location.hash.slice(1).split("?");
  const [page, part = ""] = single ? decoded(where).split(":") : ["page", where];
  return {page: page || (single ? "index" : "page"), part, state: new URLSearchParams(state)};
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; } // "%" by itself
}

function keep(state) {
  const text = state.toString();
  const where = location.hash.slice(1).split("?")[0];
  const hash = `#${where}${text ? `?${text}` : ""}`;
  if (hash === (location.hash || "#")) return;
  try { history.replaceState(null, "", hash); } catch { /* a mail program's preview has no addresses */ }
}

function show() {
  const {page: name, part} = place();
  const pages = all(".page"); // other elements have ids, too
  const page = pages.find((one) => one.id === name) || pages[0];
  for (const other of all(".page.current")) if (other !== page) other.classList.remove("current");
  if (!page.classList.contains("current")) {
    page.classList.add("current");
    if (single) { document.title = page.dataset.title; if (!part) scrollTo(0, 0); }
  }
  begin(page);
  const target = part && document.getElementById(single ? `${name}:${part}` : part);
  if (target && single) target.scrollIntoView();
}

// ---- a page, once it is looked at ---------------------------------------------------------------

const begun = new Map();

function begin(page) {
  if (begun.has(page)) return begun.get(page)?.restore();
  const tables = all("table.data", page).map(sortable);
  const charts = all("figure.chart", page).map((figure) => new Chart(figure));
  const form = page.querySelector("form.filters");
  const filters = form ? new Filters(page, form, tables, charts) : null;
  begun.set(page, filters);
  for (const scroll of all(".scroll", page)) watch(scroll);
  for (const command of all(".command", page)) offer(command);
}

// Where columns are out of sight, the edge of a table fades.
function watch(scroll) {
  const look = () => scroll.classList.toggle("more", scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 2);
  scroll.addEventListener("scroll", look, {passive: true});
  new ResizeObserver(look).observe(scroll);
}

// A button that copies the lines of a command. Without a clipboard it selects them.
function offer(command) {
  const text = command.querySelector("pre");
  const button = Object.assign(document.createElement("button"), {type: "button", className: "copy", textContent: "Copy"});
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text);
    try { await navigator.clipboard.writeText(text.textContent); } catch { if (!document.execCommand("copy")) return; }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  command.append(button);
}

// Only the table scrolls, not the search and the paging that belong to it.
function within(outer, inner) {
  for (const name of ["tabindex", "role", "aria-label", "class"]) {
    inner.setAttribute(name, name === "class" ? `${inner.className} scroll` : outer.getAttribute(name));
    outer.removeAttribute(name);
  }
}

function sortable(table) {
  const runs = ["runs", "long"].some((name) => table.classList.contains(name)) && table.rows.length > 12;
  const options = {
    paging: runs && table.rows.length > 102, pageLength: 100, info: false, searching: true, autoWidth: false, order: [],
    language: {search: "Find", searchPlaceholder: "part of a row"},
    layout: {topStart: runs ? "search" : null, topEnd: null, bottomStart: runs ? "paging" : null, bottomEnd: null},
    columnDefs: [
      {targets: 0, orderSequence: ["asc", "desc", ""]},
      {targets: "_all", orderSequence: ["desc", "asc", ""]},
    ],
  };
  const made = new DataTable(table, options);
  within(table.closest(".scroll"), made.table().container().querySelector(".dt-layout-table"));
  return made;
}

// ---- filters ------------------------------------------------------------------------------------

class Filters {
  constructor(page, form, tables, charts) {
    Object.assign(this, {page, form, charts});
    this.tables = tables.filter((table) => table.table().node().classList.contains("methods"));
    this.methods = all("input[name=method]", form);
    this.pairs = all("input[name=pair]", form);
    this.facets = new Map(this.methods.map((box) => [box, JSON.parse(box.dataset.facets)]));
    for (const table of this.tables) this.attach(table);
    form.addEventListener("input", () => this.apply());
    form.addEventListener("reset", () => setTimeout(() => this.apply()));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("click", (event) => this.button(event.target));
    this.restore();
  }

  attach(table) {
    const rows = table.rows().nodes().toArray();
    table.search.fixed("chosen", (text, data, index) =>
      !("method" in rows[index].dataset) || this.chosen.has(rows[index].dataset.method));
  }

  button(target) {
    const name = target.dataset.all || target.dataset.none;
    if (!name) return;
    for (const box of this.form.elements[name].length ? this.form.elements[name] : [this.form.elements[name]])
      box.checked = "all" in target.dataset;
    this.apply();
  }

  selects() { return all("select", this.form).filter((select) => select.name !== "view"); }

  passes(box) {
    const search = this.form.elements.search.value.trim().toLowerCase();
    const facets = this.facets.get(box);
    return box.checked && box.value.toLowerCase().includes(search)
      && this.selects().every((select) => !select.value || (facets[select.name] || []).includes(select.value));
  }

  apply() {
    const methods = this.methods.filter((box) => this.passes(box)).map((box) => box.value);
    const pairs = this.pairs.filter((box) => box.checked).map((box) => box.value);
    this.chosen = new Set(methods);
    const hidden = new Set(this.pairs.filter((box) => !box.checked).map((box) => box.value));
    for (const table of this.tables) {
      const headers = table.columns().header().toArray();
      headers.forEach((header, i) => {
        const visible = !hidden.has(header.dataset.pair);
        if ("pair" in header.dataset && table.column(i).visible() !== visible) table.column(i).visible(visible, false);
      });
      table.draw();
    }
    const view = this.form.elements.view.value;
    for (const one of all(".view", this.page)) one.classList.toggle("current", one.dataset.view === view);
    const everything = methods.length === this.methods.length;
    for (const chart of this.charts)
      chart.choose({methods: everything ? null : methods, pairs: hidden.size ? pairs : null});
    const ofPairs = this.pairs.length ? `, ${pairs.length} of ${this.pairs.length} pairs` : "";
    this.form.querySelector("output").value = `${methods.length} of ${this.methods.length} methods${ofPairs}`;
    this.remember();
  }

  remember() {
    const state = new URLSearchParams();
    for (const field of [this.form.elements.search, this.form.elements.view, ...this.selects()]) {
      const first = field.options ? field.options[0].value : "";
      if (field.value !== first) state.set(field.name, field.value);
    }
    for (const [name, boxes] of [["method", this.methods], ["pair", this.pairs]]) {
      const off = boxes.flatMap((box, i) => (box.checked ? [] : [i]));
      const on = boxes.flatMap((box, i) => (box.checked ? [i] : []));
      if (off.length) state.set(...(off.length <= on.length ? [`${name}-off`, off.join(".")] : [`${name}-on`, on.join(".")]));
    }
    keep(state);
  }

  restore() {
    const {state} = place();
    for (const field of [this.form.elements.search, this.form.elements.view, ...this.selects()]) {
      const first = field.options ? field.options[0].value : "";
      field.value = state.get(field.name) ?? first;
      if (field.options && field.selectedIndex < 0) field.selectedIndex = 0;
    }
    for (const [name, boxes] of [["method", this.methods], ["pair", this.pairs]]) {
      const off = state.get(`${name}-off`)?.split(".");
      const on = state.get(`${name}-on`)?.split(".");
      boxes.forEach((box, i) => { box.checked = on ? on.includes(`${i}`) : !off?.includes(`${i}`); });
    }
    const more = this.form.querySelector("details.more");
    if (more) more.open = matchMedia("(min-width: 40rem)").matches || this.selects().some((select) => select.value);
    this.apply();
  }
}

// ---- charts -------------------------------------------------------------------------------------

const charts = new Set();
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.chart.draw();
}, {rootMargin: "200px"});

class Chart {
  constructor(figure) {
    Object.assign(this, {figure, signals: {}, view: null, drawn: null});
    this.canvas = figure.querySelector(".canvas");
    this.canvas.chart = this;
    for (const select of all("select[data-signal]", figure)) {
      this.signals[select.dataset.signal] = select.value;
      select.addEventListener("input", () => this.choose({[select.dataset.signal]: select.value}));
    }
    charts.add(this);
    seen.observe(this.canvas);
  }

  choose(signals) {
    Object.assign(this.signals, signals);
    if (this.view) this.set();
  }

  set() {
    for (const [name, value] of Object.entries(this.signals)) this.view.signal(name, keyed(value));
    return this.view.resize().runAsync();
  }

  draw() {
    this.drawn ??= this.embed();
    return this.drawn;
  }

  async embed() {
    const spec = {...fitted(kdCharts[this.figure.dataset.chart], this.canvas.clientWidth), datasets: this.data()};
    const options = {
      renderer: "svg", mode: "vega-lite", logLevel: 1, // errors: a filter may leave nothing to draw
      config: theme(), tooltip: {theme: dark.matches ? "dark" : "light"},
      actions: {export: true, source: false, compiled: false, editor: false},
    };
    spec.datasets = keyed(spec.datasets);
    const {view} = await vegaEmbed(this.canvas, spec, options);
    this.view = view;
    this.describe();
    await this.set();
    this.figure.dataset.drawn = "yes";
  }

  // What a screen reader says: one picture, and a menu with a name.
  describe() {
    const svg = this.canvas.querySelector("svg.marks");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", this.figure.querySelector("h3").textContent);
    this.canvas.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
  }

  data() {
    const text = this.figure.closest(".page").querySelector("pre.history")?.textContent;
    return {...JSON.parse(this.figure.querySelector("script.data").textContent), ...(text ? {history: long(text)} : {})};
  }

  async again() {
    if (!this.drawn) return;
    await this.drawn;
    this.view.finalize();
    await (this.drawn = this.embed());
  }
}

// On a phone, long labels of an axis leave room for the chart.
function fitted(spec, width) {
  if (width > 560) return spec;
  return JSON.parse(JSON.stringify(spec), (key, value) => (key === "labelLimit" ? Math.min(value, width * 0.3) : value));
}

// Texts are keys of objects inside Vega; this one cannot be.
function keyed(value) {
  if (value === "__proto__") return "__proto__ ";
  if (Array.isArray(value)) return value.map(keyed);
  return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, keyed(v)])) : value;
}

const MOST_EPOCHS = 1000; // more cannot be told apart, and take minutes to draw

// The rows of a history.csv, one for each epoch and column that is a finite number.
function long(text) {
  const [header, ...lines] = text.trim().split("\n").map((line) => line.trim().split(","));
  const epochs = new Map(); // by stage and epoch: of lines written twice the last
  for (const cells of lines) {
    const row = new Map(header.map((name, i) => [name, cells[i]]));
    if (/^\d+$/.test(row.get("epoch"))) epochs.set(`${row.get("epoch")} ${row.get("stage")}`, row);
  }
  const step = Math.ceil(epochs.size / MOST_EPOCHS);
  const rows = [...epochs.values()].filter((_, i, every) => i % step === 0 || i === every.length - 1);
  return rows.flatMap((row) => [...row]
    .filter(([name, cell]) => name !== "stage" && name !== "epoch" && cell && Number.isFinite(Number(cell)))
    .map(([name, cell]) => ({stage: row.get("stage"), epoch: Number(row.get("epoch")), name, value: Number(cell)})));
}

function theme() {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const [text, line, quiet] = ["text", "line", "quiet"].map(color);
  return {
    aria: false, background: "transparent", font: "system-ui, sans-serif",
    axis: {labelFontSize: 11, titleFontSize: 11.5, labelColor: text, titleColor: text, gridColor: line, domainColor: quiet, tickColor: quiet},
    legend: {labelFontSize: 11, labelColor: text, titleColor: text}, title: {color: text}, header: {labelColor: text, titleColor: text},
    style: {"guide-label": {fill: text}, "guide-title": {fill: text}}, text: {color: text}, rule: {color: quiet},
    view: {stroke: line},
  };
}

// ---- the page as a whole ------------------------------------------------------------------------

function live() {
  const seconds = Number(document.body.dataset.refresh);
  if (!seconds) return;
  const line = document.querySelector(".live");
  const box = line.querySelector("input");
  line.hidden = false;
  try {
    box.addEventListener("input", () => sessionStorage.setItem("paused", box.checked ? "no" : "yes"));
    box.checked = sessionStorage.getItem("paused") !== "yes";
  } catch { /* a browser that keeps nothing: it reloads until told again */ }
  setInterval(() => { if (box.checked && document.activeElement === document.body) location.reload(); }, 1000 * seconds);
}

addEventListener("hashchange", show);
addEventListener("beforeprint", () => {
  for (const chart of charts) if (chart.figure.offsetParent) chart.draw();
  for (const folded of all(".finding details:not([open])")) folded.dataset.folded = folded.open = true;
});
addEventListener("afterprint", () => {
  for (const opened of all("details[data-folded]")) { delete opened.dataset.folded; opened.open = false; }
});
dark.addEventListener("change", () => {
  document.documentElement.classList.toggle("dark", dark.matches); // DataTables goes by it
  for (const chart of charts) chart.again();
});
live();
show();
})();
