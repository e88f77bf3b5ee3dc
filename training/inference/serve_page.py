"""The HTML of the local page: one file, no other resources, boxes drawn in the browser.

The server behind it is `serve.py`, which replaces the settings placeholder.
"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Detector</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1000px; padding: 1rem;
         color: #222; background: #fafafa }
  h1 { font-size: 1.3rem }
  #drop { display: block; border: 2px dashed #888; border-radius: 8px; padding: 2rem; text-align: center;
          background: #fff; cursor: pointer }
  #drop.over { border-color: #06c; background: #eef6ff }
  #drop:focus-within { outline: 3px solid #06c }
  input[type=file] { position: absolute; opacity: 0; width: 1px }
  label.row { display: flex; gap: .7rem; align-items: center; margin: .8rem 0 }
  input[type=range] { flex: 1 }
  canvas { max-width: 100%; background: #ddd; display: none }
  #status { min-height: 1.5em } #status.bad { color: #b00 }
  table { border-collapse: collapse } td, th { padding: .1rem .8rem .1rem 0; text-align: left }
</style>
<h1>Drop a picture, see the boxes</h1>
<label id="drop"><input id="file" type="file" accept="image/*">Drop a picture here, or press to choose one</label>
<label class="row">Threshold <input id="threshold" type="range" min="0" max="1" step="0.01">
<output id="shown"></output></label>
<label id="auto-row" hidden><input id="auto" type="checkbox"> best threshold of each class</label>
<p id="status" role="status"></p>
<canvas id="canvas"></canvas>
<table id="list"></table>
<script>
"use strict";
const settings = /*SETTINGS*/null;
const get = id => document.getElementById(id);
const canvas = get("canvas"), slider = get("threshold");
let picture = null, answer = null, turn = 0;
slider.min = settings.floor;
slider.value = settings.threshold;
// By label from 1; empty unless the page was started with threshold=auto.
const auto = get("auto"), best = settings.auto;
get("auto-row").hidden = !best.length;
auto.checked = best.length > 0;

function say(text, bad) { get("status").textContent = text; get("status").className = bad ? "bad" : ""; }
function colour(label) { return "hsl(" + (label * 222.5) % 360 + " 85% 42%)"; }

function draw() {
  const threshold = Number(slider.value);
  get("shown").textContent = auto.checked ? "auto" : threshold.toFixed(2);
  if (!answer) return;
  const visible = answer.detections.filter(d => d.score >= (auto.checked ? best[d.label - 1] : threshold));
  // Small pictures are drawn larger, so that captions can be read.
  const longer = Math.max(answer.width, answer.height), zoom = Math.max(1, 700 / longer), unit = longer / 700;
  canvas.width = Math.round(answer.width * zoom); canvas.height = Math.round(answer.height * zoom);
  canvas.style.display = "block";
  canvas.dataset.boxes = visible.length;
  const pen = canvas.getContext("2d");
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  pen.scale(zoom, zoom);
  pen.lineWidth = 2.5 * unit; pen.font = "bold " + 15 * unit + "px sans-serif";
  for (const d of [...visible].reverse()) {
    const [y1, x1, y2, x2] = d.box, text = d.name + " " + d.score.toFixed(2);
    pen.strokeStyle = pen.fillStyle = colour(d.label);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const top = Math.max(0, y1 - 19 * unit), left = Math.min(x1, answer.width - pen.measureText(text).width);
    pen.fillRect(left, top, pen.measureText(text).width + 6 * unit, 19 * unit);
    pen.fillStyle = "#fff";
    pen.fillText(text, left + 3 * unit, top + 15 * unit);
  }
  const rows = visible.map(d => {
    const row = document.createElement("tr");
    for (const cell of [d.name, d.score.toFixed(2)]) row.appendChild(document.createElement("td")).textContent = cell;
    return row;
  });
  get("list").replaceChildren(...rows);
  say(visible.length + " of " + answer.detections.length + " boxes, " + answer.seconds.toFixed(2) + " s");
}

async function look(file) {
  const mine = ++turn;
  if (file.size > settings.limit) { say("That picture is larger than this page takes.", true); return; }
  say("Looking ...");
  try {
    const reply = await fetch("/detect", { method: "POST", body: file });
    const result = await reply.json();
    if (mine !== turn) return;
    if (!reply.ok) { say(result.error, true); return; }
    // A format that the browser cannot show still gets its boxes, on a grey ground.
    picture = await createImageBitmap(file).catch(() => null);
    answer = result;
    draw();
  } catch (error) { say("The detector does not answer: " + error.message, true); }
}

slider.addEventListener("input", () => { auto.checked = false; draw(); });
auto.addEventListener("change", draw);
get("file").addEventListener("change", event => { if (event.target.files[0]) look(event.target.files[0]); });
for (const name of ["dragover", "dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    get("drop").className = name === "dragover" ? "over" : "";
    if (name === "drop" && event.dataTransfer.files[0]) look(event.dataTransfer.files[0]);
  });
draw();
</script>
</html>
"""
