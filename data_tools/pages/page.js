"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
// Colours that all kinds of colour vision tell apart (Okabe and Ito), each with a dash pattern of its own.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 4", "12 4", "1 4"];
const LAYER = 0, LABEL = 1, TAG = 2, X = 3, SCORE = 7;

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function section(title, note, ...children) {
  const element = make("section", {}, make("h2", {}, title));
  if (note) element.append(make("p", { class: "note" }, note));
  element.append(...children);
  return element;
}

function shown(value, kind) {
  if (value === null || value === undefined) return "–";
  if (kind === "percent") return (100 * value).toFixed(1) + " %";
  if (kind === "number" && !Number.isInteger(value)) return value.toFixed(3);
  return String(value);
}
function tableOf(table) {
  const body = make("tbody"), head = make("tr");
  let order = table.rows.map((_, k) => k);
  const fill = () => body.replaceChildren(...order.map(k => make("tr", {}, ...table.rows[k].map((value, c) =>
    make("td", { class: table.columns[c].kind }, shown(value, table.columns[c].kind))))));
  table.columns.forEach((column, c) => {
    const cell = make("th", { scope: "col", class: column.kind });
    const button = make("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      // Numbers start with the largest, words with the first.
      const first = column.kind === "text" ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = cell.getAttribute("aria-sort") === first ? other : first;
      for (const each of head.children) each.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      order.sort((i, j) => {
        const a = table.rows[i][c], b = table.rows[j][c];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "string" ? String(a).localeCompare(String(b)) : a - b) || i - j;
      });
      fill();
    });
    cell.append(button);
    head.append(cell);
  });
  fill();
  const scroll = make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, head), body));
  return section(table.title, table.note, scroll);
}

function chartOf(chart) {
  const svg = shape("svg", { viewBox: "0 0 400 260", class: "chart", role: "img", "aria-label": chart.title });
  const left = 38, right = 390, top = 8, bottom = 220;
  const px = x => left + x * (right - left), py = y => bottom - y / chart.most * (bottom - top);
  for (let k = 0; k <= 5; k++) {
    const y = chart.most * k / 5;
    svg.append(shape("line", { x1: left, x2: right, y1: py(y), y2: py(y), stroke: "#ddd" }));
    svg.append(shape("text", { x: left - 5, y: py(y) + 4, "text-anchor": "end" }, +y.toFixed(2)));
    svg.append(shape("text", { x: px(k / 5), y: bottom + 15, "text-anchor": "middle" }, (k / 5).toFixed(1)));
  }
  svg.append(shape("text", { x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle" }, chart.x));
  const legend = make("div", { class: "legend" });
  chart.series.forEach((line, n) => {
    const look = { fill: "none", stroke: COLOURS[n % 7], "stroke-width": 2, "stroke-dasharray": DASHES[n % 7] };
    let path = "", pen = "M";
    line.x.forEach((x, k) => {
      if (line.y[k] === null) { pen = "M"; return; }
      path += pen + px(x).toFixed(1) + " " + py(line.y[k]).toFixed(1);
      pen = "L";
    });
    svg.append(shape("path", { d: path, ...look }));
    const sample = shape("svg", { viewBox: "0 0 34 10" });
    sample.append(shape("path", { d: "M0 5L34 5", ...look }));
    legend.append(make("span", {}, sample, " " + line.name));
  });
  return section(chart.title, chart.note, svg, legend);
}

function matrixOf(matrix) {
  const head = make("tr", {}, make("th", {}), ...matrix.labels.map(name => make("th", { scope: "col" }, name)));
  const body = make("tbody");
  matrix.counts.forEach((row, r) => {
    const total = row.reduce((a, b) => a + b, 0);
    const line = make("tr", {}, make("th", { scope: "row" }, matrix.labels[r]));
    row.forEach((count, c) => {
      const share = total ? count / total : 0;
      const cell = make("td", {}, count ? String(count) : "");
      cell.title = matrix.rows + " " + matrix.labels[r] + ", " + matrix.columns + " " + matrix.labels[c] + ": " + count;
      cell.style.background = "rgba(0, 114, 178, " + (0.9 * share).toFixed(3) + ")";
      cell.style.color = share > 0.55 ? "#fff" : "#111";
      if (r === c) cell.style.outline = "1px solid #555";
      line.append(cell);
    });
    body.append(line);
  });
  const note = "Rows: " + matrix.rows + "; columns: " + matrix.columns + ". " + matrix.note;
  const table = make("table", { class: "matrix" }, make("thead", {}, head), body);
  return section(matrix.title, note, make("div", { class: "scroll", tabindex: "0" }, table));
}

// --- the browser of pictures ---
const PAGE = 60, layerOn = data.layers.map(() => true);
let chosen = [], limit = PAGE, current = -1;

// What the filters let through, whether its group of boxes is switched on or not.
function wanted(box) {
  const label = get("class").value, tag = get("tag").value;
  return (label === "" || box[LABEL] === Number(label)) && (tag === "" || box[TAG] === Number(tag)) &&
    (box[SCORE] < 0 || box[SCORE] >= Number(get("score").value));
}
function draw(picture, thin) {
  const frame = make("div", { class: "picture" });
  frame.style.aspectRatio = picture.w + " / " + picture.h;
  if (picture.jpeg) frame.append(make("img", { src: "data:image/jpeg;base64," + picture.jpeg, alt: picture.name }));
  const svg = shape("svg", { viewBox: "0 0 " + picture.w + " " + picture.h });
  const unit = Math.max(picture.w, picture.h) / (thin ? 250 : 800);
  for (const box of picture.boxes) {
    if (!layerOn[box[LAYER]] || !wanted(box)) continue;
    const [x, y, w, h] = box.slice(X, SCORE), colour = COLOURS[box[LAYER] % 7];
    const rectangle = shape("rect", { x, y, width: w, height: h, fill: "none", stroke: colour,
      "stroke-width": 2 * unit, "data-layer": box[LAYER], "data-tag": data.tags[box[TAG]] || "",
      "stroke-dasharray": DASHES[box[LAYER] % 7].split(" ").filter(Boolean).map(v => v * unit).join(" ") });
    const tag = data.tags[box[TAG]];
    const text = data.classes[box[LABEL]] + (box[SCORE] >= 0 ? " " + box[SCORE].toFixed(2) : "") + (tag ? " · " + tag : "");
    rectangle.append(shape("title", {}, text));
    svg.append(rectangle);
    if (!thin) {
      // Truth is named above its box, everything else below, so that both can be read.
      const size = 13 * unit, above = box[LAYER] === 0;
      const at = above ? Math.max(y - 3 * unit, size) : Math.min(y + h + size, picture.h - 2 * unit);
      svg.append(shape("text", { x: Math.max(0, x), y: at, fill: colour, stroke: "#fff", "stroke-width": 3 * unit,
        "paint-order": "stroke", "font-size": size, "font-weight": "bold" }, text));
    }
  }
  frame.append(svg);
  return frame;
}
function caption(picture) { return picture.name + (picture.note ? ": " + picture.note : ""); }
function card(k) {
  const picture = data.pictures[k];
  const button = make("button", { class: "card", type: "button" }, draw(picture, true),
    make("p", { class: "caption" }, caption(picture)));
  button.addEventListener("click", () => open(k));
  return button;
}
function fill() {
  get("score-shown").textContent = Number(get("score").value).toFixed(2);
  const filtered = get("class").value !== "" || get("tag").value !== "";
  chosen = data.pictures.map((_, k) => k).filter(k => !filtered || data.pictures[k].boxes.some(wanted));
  get("grid").replaceChildren(...chosen.slice(0, limit).map(card));
  get("count").textContent = chosen.length + " of " + data.pictures.length + " pictures";
  get("more").hidden = chosen.length <= limit;
  if (get("large").open && current >= 0) open(current);
}
function open(k) {
  current = k;
  get("large-picture").replaceChildren(draw(data.pictures[k], false));
  get("large-caption").textContent = caption(data.pictures[k]);
  if (!get("large").open) get("large").showModal();
}
function step(by) {
  const place = chosen.indexOf(current) + by;
  if (place >= 0 && place < chosen.length) open(chosen[place]);
}
function choices(select, names) {
  select.append(make("option", { value: "" }, "all"), ...names.map((name, k) => make("option", { value: k }, name)));
}
function startBrowser() {
  get("browser").hidden = false;
  get("pictures-note").textContent = data.note;
  get("tags-title").textContent = data.tagsTitle;
  get("tag").parentElement.hidden = !data.tags.length;
  const scored = data.pictures.some(picture => picture.boxes.some(box => box[SCORE] >= 0));
  get("score").parentElement.hidden = !scored;
  choices(get("class"), data.classes);
  choices(get("tag"), data.tags);
  get("score").value = data.threshold;
  data.layers.forEach((name, k) => {
    const sample = shape("svg", { viewBox: "0 0 34 10", width: 34, height: 10 });
    sample.append(shape("path", { d: "M0 5L34 5", stroke: COLOURS[k % 7], "stroke-width": 3, "stroke-dasharray": DASHES[k % 7] }));
    const box = make("input", { type: "checkbox", id: "layer-" + k });
    box.checked = true;
    box.addEventListener("change", () => { layerOn[k] = box.checked; fill(); });
    get("layers").append(make("label", {}, box, " " + name + " ", sample, " "));
  });
  for (const id of ["class", "tag", "score"])
    get(id).addEventListener("input", () => { limit = PAGE; fill(); });
  get("filters").addEventListener("submit", event => event.preventDefault());
  get("more").addEventListener("click", () => { limit += PAGE; fill(); });
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => get("large").close());
  document.addEventListener("keydown", event => {
    if (!get("large").open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= data.layers.length) get("layer-" + (event.key - 1)).click();
    else return;
    event.preventDefault();
  });
  fill();
}

get("title").textContent = data.title;
get("summary").append(...data.summary.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
get("tables").append(...data.tables.map(tableOf));
get("charts").append(...data.charts.map(chartOf));
get("matrices").append(...data.matrices.map(matrixOf));
if (data.pictures.length) startBrowser();
document.body.dataset.ready = "yes";
