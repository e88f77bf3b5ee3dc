// The local page: pictures go to the server one after the other, boxes are drawn here.
const get = id => document.getElementById(id);
const canvas = get("canvas"), slider = get("threshold"), auto = get("auto"), best = settings.auto;
const shots = []; // of each picture: file, name, and then answer or error
const hidden = new Set(); // names of classes that are filtered out
const MOST = 500;
let current = null, bitmap = null, busy = false, lit = -1;

slider.min = settings.floor;
slider.value = settings.threshold;
// By label from 1; empty unless the page was started with threshold=auto.
get("auto-row").hidden = !best.length;
auto.checked = best.length > 0;
get("model").textContent = settings.model;
get("limits").textContent = settings.limits;

function say(text, bad) { get("status").textContent = text; get("status").className = bad ? "bad" : ""; }
function colour(label) { return "hsl(" + (label * 222.5) % 360 + " 85% 38%)"; }
function sure(d) { return d.score >= (auto.checked ? best[d.label - 1] : Number(slider.value)); }
function visible(answer) { return answer.detections.filter(d => sure(d) && !hidden.has(d.name)); }
function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function counts(answer, shown) {
  const all = answer.detections.length, scores = answer.detections.map(d => d.score);
  let text = shown.length + " of " + all + " boxes";
  if (!all) return "no box at all, not even a faint one";
  if (!shown.length) text += ": the best score is " + Math.max(...scores).toFixed(2);
  const filtered = answer.detections.filter(d => sure(d) && hidden.has(d.name)).length;
  return filtered ? text + ", " + filtered + " hidden by the choice of classes" : text;
}

function listFiles() {
  get("files").hidden = shots.length < 2;
  get("save-all").hidden = shots.filter(s => s.answer).length < 2;
  get("files").replaceChildren(...shots.map(shot => {
    const state = shot.error ? "refused" : shot.answer ? visible(shot.answer).length + " boxes" : "waiting";
    const button = element("button", shot.name + ": " + state, shot.error ? "bad" : "");
    button.type = "button";
    button.setAttribute("aria-current", shot === current);
    button.addEventListener("click", () => show(shot));
    return button;
  }));
}

function listClasses() {
  const names = new Map();
  for (const d of current.answer.detections) {
    const entry = names.get(d.name) || { label: d.label, count: 0 };
    entry.count += sure(d);
    names.set(d.name, entry);
  }
  get("classes").replaceChildren(...[...names].filter(([name, e]) => e.count || hidden.has(name)).map(([name, entry]) => {
    const label = element("label"), box = element("input"), field = element("i");
    box.type = "checkbox";
    box.checked = !hidden.has(name);
    box.addEventListener("change", () => { if (box.checked) hidden.delete(name); else hidden.add(name); draw(); });
    field.style.background = colour(entry.label);
    label.append(box, field, name + " (" + entry.count + ")");
    return label;
  }));
}

// Where a caption hides no box and no other caption; null where there is no such place.
function place(width, height, box, taken, page) {
  const [y1, x1, y2, x2] = box, gap = 3;
  const corners = [];
  for (const y of [y1 - height - gap, y2 + gap]) for (const x of [x1, x2 - width, (x1 + x2 - width) / 2]) corners.push([x, y]);
  for (const x of [x2 + gap, x1 - width - gap]) for (const y of [y1, y2 - height, (y1 + y2 - height) / 2]) corners.push([x, y]);
  for (let [x, y] of corners) {
    x = Math.max(0, Math.min(x, page[0] - width));
    y = Math.max(0, Math.min(y, page[1] - height));
    const meets = t => x < t[2] && t[0] < x + width && y < t[3] && t[1] < y + height;
    if (!taken.some(meets)) return [x, y];
  }
  return null;
}

function draw() {
  get("shown").textContent = auto.checked ? "auto" : Number(slider.value).toFixed(2);
  listFiles();
  if (!current || !current.answer) return;
  const answer = current.answer, shown = visible(answer);
  // Small pictures are drawn larger, so that captions can be read; huge ones no larger than browsers can.
  const longer = Math.max(answer.width, answer.height), zoom = longer < 700 ? 700 / longer : Math.min(1, 4096 / longer);
  const page = [answer.width * zoom, answer.height * zoom].map(Math.round);
  // Letters are as large on a phone's screen as they can be without covering the picture.
  const unit = Math.max(...page) / Math.max(430, Math.min(700, document.documentElement.clientWidth - 32));
  [canvas.width, canvas.height] = page;
  canvas.dataset.boxes = shown.length;
  const pen = canvas.getContext("2d");
  if (bitmap) pen.drawImage(bitmap, 0, 0, ...page);
  const boxes = shown.map(d => d.box.map(v => v * zoom));
  const taken = boxes.map(([y1, x1, y2, x2]) => [x1, y1, x2, y2]);
  for (let k = shown.length - 1; k >= 0; k--) {
    const [y1, x1, y2, x2] = boxes[k];
    for (const [ink, wide] of [["#fff", 4.5], [colour(shown[k].label), k === lit ? 4 : 2.5]]) {
      pen.strokeStyle = ink; pen.lineWidth = wide * unit;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
  pen.font = "bold " + 14 * unit + "px sans-serif"; pen.textBaseline = "top"; pen.lineJoin = "round";
  shown.forEach((d, k) => {
    const height = 18 * unit;
    let text = (k + 1) + " " + d.name + " " + d.score.toFixed(2);
    for (const words of [text, String(k + 1)]) { // the number is in the table
      const width = pen.measureText(words).width + 6 * unit, spot = place(width, height, boxes[k], taken, page);
      if (!spot) continue;
      taken.push([spot[0], spot[1], spot[0] + width, spot[1] + height]);
      pen.fillStyle = colour(d.label); pen.fillRect(...spot, width, height);
      pen.fillStyle = "#fff"; pen.fillText(words, spot[0] + 3 * unit, spot[1] + 2 * unit);
      return;
    }
    // Nowhere free: the number alone, without a ground, so that what lies under it is seen.
    text = String(k + 1);
    const x = Math.max(0, boxes[k][1]) + 4 * unit, y = Math.max(0, boxes[k][0]) + 3 * unit;
    pen.strokeStyle = "#fff"; pen.lineWidth = 3 * unit; pen.strokeText(text, x, y);
    pen.fillStyle = colour(d.label); pen.fillText(text, x, y);
  });
  listClasses();
  get("list").replaceChildren(...shown.map((d, k) => {
    const row = element("tr", undefined, k === lit ? "lit" : ""), [y1, x1, y2, x2] = d.box;
    const numbers = [x1, y1, x2 - x1, y2 - y1].map(v => v.toFixed(1));
    row.append(element("td", k + 1), element("td", d.name, "text"), element("td", d.score.toFixed(2)),
      ...numbers.map(n => element("td", n)));
    row.addEventListener("click", () => { lit = lit === k ? -1 : k; draw(); });
    return row;
  }));
  const words = shown.slice(0, 20).map(d => d.name + " " + d.score.toFixed(2)).join(", ");
  canvas.setAttribute("aria-label", current.name + ": " + counts(answer, shown) + (words ? ": " + words : "")
    + (shown.length > 20 ? " and so on, all in the table below" : ""));
  say(current.name + ": " + counts(answer, shown) + ", " + answer.seconds.toFixed(2) + " s");
}

async function show(shot) {
  current = shot; lit = -1; bitmap = null;
  get("view").hidden = !shot.answer; // a refused picture leaves nothing of the one before
  if (!shot.answer) { canvas.width = canvas.height = 0; delete canvas.dataset.boxes; get("list").replaceChildren(); }
  if (shot.error) say(shot.name + ": " + shot.error, true);
  else if (!shot.answer) say(shot.name + ": waiting ...");
  else {
    // A format that the browser cannot show still gets its boxes, on a grey ground.
    const made = await createImageBitmap(shot.file).catch(() => null);
    if (current !== shot) return;
    bitmap = made;
  }
  draw();
}

async function ask(shot) {
  if (shot.file.size > settings.limit)
    return { error: "the picture has " + (shot.file.size / 1e6).toFixed(1) + " MB; this page takes up to "
      + settings.limit / 1e6 + " MB (max_upload_mb)" };
  try {
    const reply = await fetch("/detect", { method: "POST", body: shot.file }), result = await reply.json();
    return reply.ok ? { answer: result } : { error: result.error };
  } catch (error) { return { error: "the detector does not answer: " + error.message }; }
}

async function add(files) {
  const wanted = [...files].slice(0, MOST - shots.length);
  if (!wanted.length) { say(files.length ? "This page holds " + MOST + " pictures; reload it for more." : "That was no picture file.", true); return; }
  const fresh = wanted.map(file => ({ file, name: file.name || "pasted picture" }));
  shots.push(...fresh);
  await show(fresh[0]);
  if (busy) return; // the loop below, already at work, takes them in their turn
  busy = true;
  for (let shot; (shot = shots.find(s => !s.answer && !s.error));) {
    say("Looking at " + shot.name + " (" + (shots.indexOf(shot) + 1) + " of " + shots.length + ") ...");
    Object.assign(shot, await ask(shot));
    // The first one of those that were given stays on the screen until a person chooses another.
    if (shot === current) await show(shot); else listFiles();
  }
  busy = false;
  if (current.answer) draw();
}

function save(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
function record(shot) {
  const { width, height } = shot.answer;
  const detections = visible(shot.answer).map(d => ({ class: d.name, category_id: d.category_id, score: d.score,
    bbox: [d.box[1], d.box[0], d.box[3] - d.box[1], d.box[2] - d.box[0]].map(v => Number(v.toFixed(2))) }));
  return { file_name: shot.name, width, height, model: settings.model,
    threshold: auto.checked ? "auto" : Number(slider.value), detections };
}
const json = value => new Blob([JSON.stringify(value, null, 1) + "\n"], { type: "application/json" });
const stem = name => name.replace(/\.[^.]*$/, "") || "picture";

get("save-picture").addEventListener("click", () => canvas.toBlob(blob => save(blob, stem(current.name) + "-boxes.png")));
get("save-json").addEventListener("click", () => save(json(record(current)), stem(current.name) + "-boxes.json"));
get("save-all").addEventListener("click", () => save(json(shots.filter(s => s.answer).map(record)), "boxes.json"));
get("all").addEventListener("click", () => { hidden.clear(); draw(); });
get("none").addEventListener("click", () => { for (const d of current.answer.detections) hidden.add(d.name); draw(); });
slider.addEventListener("input", () => { auto.checked = false; lit = -1; draw(); });
addEventListener("resize", draw);
auto.addEventListener("change", () => { lit = -1; draw(); });
get("file").addEventListener("change", event => {
  const chosen = [...event.target.files];
  event.target.value = ""; // the same file may be chosen again
  if (chosen.length) add(chosen);
});
document.addEventListener("paste", event => {
  const files = [...event.clipboardData.files];
  if (files.length) add(files); else say("There is no picture to paste: copy a picture, not its address.", true);
});
for (const name of ["dragover", "dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    get("drop").className = name === "dragover" ? "over" : "";
    if (name === "drop") add(event.dataTransfer.files);
  });
draw();
