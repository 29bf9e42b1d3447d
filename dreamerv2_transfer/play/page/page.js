// Shows a session and passes on what the player does. One request is under way at a time;
// the server answers each with the step that the session is at.
"use strict";

const $ = (id) => document.getElementById(id);
const CALM = [24, 26, 40], LIT = [255, 214, 102]; // Of the latents, as in recordings.
const ARROWS = { UP: "↑", DOWN: "↓", LEFT: "←", RIGHT: "→", NOOP: "wait", FIRE: "Fire" };
const MOVES = { ArrowUp: "UP", ArrowDown: "DOWN", ArrowLeft: "LEFT", ArrowRight: "RIGHT",
  KeyW: "UP", KeyS: "DOWN", KeyA: "LEFT", KeyD: "RIGHT", Space: "FIRE", KeyN: "NOOP" };
const COMBINED = /^(UP|DOWN)?(LEFT|RIGHT)?(FIRE)?$/; // How Atari names several at once.
const CELL = { UP: "1 / 2", LEFT: "2 / 1", NOOP: "2 / 2", RIGHT: "2 / 3", DOWN: "3 / 2" };

let socket, game = null, course = [], branches = [], branch = 0, step = 0;
let busy = false, waiting = [], lastSent = 0, timer = 0, rate = 0, lastShown = 0;
const TAP = 250; // Milliseconds; a key that is held for longer is repeated.
let held = [], tapped = [], heldSince = 0; // Names of actions: held now, and pressed since the last step.
const on = { run: false, agent: false, look: false };

// Requests.

function connect() {
  const url = new URL("socket", location.href);
  url.protocol = "ws:";
  socket = new WebSocket(url);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    game = null;
    fail((event.reason || "The connection is closed") + ". Start play again and open the address"
      + " that it prints.");
    for (const x of document.querySelectorAll("button, input, select")) x.disabled = true;
  };
}

function ask(message) {
  if (busy) {
    waiting = waiting.filter((x) => x.type !== message.type).concat(message);
    return;
  }
  busy = true;
  socket.send(JSON.stringify(message));
}

function receive(message) {
  busy = false;
  if (message.type === "hello") greet(message);
  else if (message.type === "started") started(message);
  else if (message.type === "shown") shown(message);
  else if (message.type === "recorded") save(message.data);
  else if (message.type === "failed") {
    for (const name of ["run", "agent"]) press(name, false);
    waiting = [];
    fail(message.reason);
  }
  if (!busy && waiting.length) ask(waiting.shift());
  else pump();
}

function fail(reason) {
  $("failed").textContent = reason;
  $("failed").hidden = !reason;
}

// The game.

function greet(message) {
  $("model").textContent = message.name;
  $("task").replaceChildren(...["It was trained on", "New to it"].map((label, i) => {
    const group = Object.assign(document.createElement("optgroup"), { label });
    const games = message.games.filter((x) => x.is_known === !i);
    group.append(...games.map((x) => new Option(x.label, x.task)));
    return games.length ? group : "";
  }));
  $("seed").value = message.seed;
  $("agent").disabled = Boolean(message.no_agent);
  $("no-agent").textContent = message.no_agent;
  $("no-agent").hidden = !message.no_agent;
  start();
}

function start() {
  if (!$("start").reportValidity()) return;
  for (const name of ["run", "agent", "look"]) press(name, false);
  ask({ type: "start", task: $("task").value, seed: Number($("seed").value) });
}

function started(message) {
  game = message;
  game.names = message.actions.map((x) => x.replace(/^MOVE_/, ""));
  $("task").value = message.task;
  $("seed").value = message.seed;
  $("unit").textContent = message.unit;
  $("objects").replaceChildren(...message.objects.map((x) => {
    const item = document.createElement("li"), mark = document.createElement("i");
    mark.style.background = `rgb(${x.color})`;
    item.append(mark, x.name);
    return item;
  }));
  const { height, width } = message.pictures.latent;
  $("latent-size").textContent = `${height} × ${width}`;
  makePad();
  notice("");
  fail("");
  shown(message);
}

function shown(message) {
  if (message.course) course = message.course;
  else course[message.step] = message.row;
  ({ branch, branches, step } = message);
  // Time stops once where the game ends; the dream may go on.
  if (on.run && message.row.over && step && !course[step - 1].over) press("run", false);
  draw(message.pictures, message.row);
  drawBranches();
  drawCharts();
}

function draw(pictures, row) {
  paint($("dream"), pictures.dream);
  paint($("game"), pictures.game);
  paint($("difference"), pictures.difference);
  paint($("latent"), pictures.latent, (x) => CALM.map((c, i) => c + (LIT[i] - c) * x / 255));
  $("dream").classList.toggle("looked", row.looked);
  $("mode").classList.toggle("looked", row.looked);
  $("mode").textContent = row.discount < 0.5 ? "expects the end" : row.looked ? "sees" : "dreams";
  $("game").classList.toggle("ended", row.over);
  $("over").hidden = !row.over;
  $("dream-score").textContent = total("dreamed");
  $("game-score").textContent = total("raw");
  $("step").textContent = step;
  $("slider").max = course.length - 1;
  $("slider").value = step;
}

function total(name) {
  const sum = course.slice(0, step + 1).reduce((sum, x) => sum + (x[name] || 0), 0);
  return (Math.round(10 * sum) / 10 + 0).toFixed(1); // Without the sign of a zero.
}

function paint(canvas, picture, color) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!picture) return context.clearRect(0, 0, canvas.width, canvas.height);
  const { width, height } = picture;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const bytes = Uint8Array.from(atob(picture.data), (x) => x.charCodeAt(0));
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(color ? color(bytes[i]) : bytes.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function drawBranches() {
  const chips = branches.length < 2 ? [] : branches.map((x, i) => {
    const chip = document.createElement("button");
    chip.textContent = i ? `${i + 1}: from step ${x.fork} of ${x.parent + 1}` : "1: first";
    chip.setAttribute("aria-pressed", i === branch);
    chip.onclick = () => ask({ type: "rewind", branch: i, step: x.last });
    return chip;
  });
  $("branches").replaceChildren(...chips);
}

// Time: steps are taken while a key is held or time runs, and at each press of a key.

function pump() {
  clearTimeout(timer);
  const wants = on.run || held.length || tapped.length;
  if (!game || busy || !wants) return;
  const next = lastSent + 1000 / $("speed").value;
  const repeats = on.run || tapped.length;
  const wait = Math.max(next, repeats ? 0 : heldSince + TAP) - performance.now();
  if (wait > 1) {
    timer = setTimeout(pump, wait);
    return;
  }
  const now = performance.now(), passed = now - lastShown;
  rate = passed < 2000 ? 0.9 * rate + 0.1 * (1000 / passed) : Number($("speed").value);
  lastShown = lastSent = now;
  const sees = on.look || step + 1 < $("context").value;
  const message = { type: "step", look: sees && !course[step].over };
  if (on.agent && !held.length && !tapped.length) message.agent = true;
  else message.action = action();
  tapped = [];
  ask(message);
  showSpeed();
}

function action() {
  const names = [...held, ...tapped];
  const has = (...options) => options.findLast((x) => names.includes(x)) || "";
  const last = names.at(-1);
  const vertical = has("UP", "DOWN"), horizontal = has("LEFT", "RIGHT"), fire = has("FIRE");
  const options = [vertical + horizontal + fire, horizontal + fire, vertical + fire,
    vertical + horizontal, last, "NOOP"];
  return Math.max(0, game.names.indexOf(options.find((x) => x && game.names.includes(x))));
}

function hold(name) {
  if (!game || !game.names.includes(name) || held.includes(name)) return;
  if (!held.length) heldSince = performance.now();
  held.push(name);
  tapped.push(name);
  mark();
  pump();
}

function release(name) {
  held = held.filter((x) => x !== name);
  mark();
}

function mark() {
  for (const x of $("pad").children) x.classList.toggle("held", held.includes(x.dataset.name));
}

function showSpeed() {
  $("speed-value").textContent = on.run ? `${rate.toFixed(1)} a second` : `${$("speed").value} a second`;
}

function press(name, value = !on[name]) {
  if (value && $(name).disabled) return;
  on[name] = value;
  $(name).setAttribute("aria-pressed", value);
  if (name === "agent") press("run", value);
  if (name === "run") $("run").textContent = value ? "❚❚ Pause" : "▶ Run";
  pump();
}

function rewind(to) {
  if (!game) return;
  press("run", false);
  press("agent", false);
  ask({ type: "rewind", step: Math.min(Math.max(0, Math.round(to)), course.length - 1) });
}

// Buttons.

function makePad() {
  const others = game.names.filter((x) => x !== "NOOP" && !COMBINED.test(x));
  const shown = ["UP", "LEFT", "NOOP", "RIGHT", "DOWN", "FIRE"].filter((x) => game.names.includes(x));
  $("pad").replaceChildren(...[...shown, ...others].map((name) => {
    const button = document.createElement("button");
    const index = others.indexOf(name), key = index >= 0 && index < 9 ? `${index + 1} ` : "";
    button.dataset.name = name;
    button.textContent = ARROWS[name] || key + name.replace(/_/g, " ").toLowerCase();
    button.title = button.ariaLabel = name === "NOOP" ? "wait a step" : name.toLowerCase();
    button.disabled = !game.used.includes(game.names.indexOf(name));
    if (name === "NOOP") button.classList.add("small");
    if (CELL[name]) button.style.gridArea = CELL[name];
    else button.classList.add(name === "FIRE" ? "wide" : "small");
    button.onpointerdown = (event) => {
      event.preventDefault();
      button.setPointerCapture(event.pointerId);
      hold(name);
    };
    button.onpointerup = button.onpointercancel = () => release(name);
    button.onclick = (event) => {
      if (event.detail === 0) { hold(name); release(name); } // By the keyboard.
    };
    button.oncontextmenu = (event) => event.preventDefault(); // Of a long touch.
    return button;
  }));
  game.others = others;
}

function save(data) {
  const bytes = Uint8Array.from(atob(data), (x) => x.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "image/gif" }));
  link.download = `dream_${game.task}_${game.seed}_${step}.gif`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  notice(`Saved ${link.download}, ${Math.ceil(bytes.length / 1024)} kB.`);
}

function notice(text) {
  $("saved").textContent = text;
  $("saved").hidden = !text;
}

document.onkeydown = (event) => {
  const { target, code } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !game) return;
  if (target.matches("input, select") || (target.matches("button") && /Space|Enter/.test(code))) return;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(code);
  const name = MOVES[code] || (digit && game.others[digit[1] - 1]);
  if (name) hold(name);
  else if (event.repeat && code !== "Comma" && code !== "Period") return;
  else if (code === "KeyP") press("run");
  else if (code === "KeyL") press("look");
  else if (code === "KeyG") press("agent");
  else if (code === "KeyR") start();
  else if (code === "Comma") rewind(step - 1);
  else if (code === "Period") rewind(step + 1);
  else return;
  event.preventDefault();
};
document.onkeyup = (event) => {
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  release(MOVES[event.code] || (game && digit && game.others[digit[1] - 1]));
};
window.onblur = () => { held = []; mark(); };
document.onclick = (event) => { // Else Space would press it again.
  if (event.detail && event.target.matches("button")) event.target.blur();
};
for (const name of ["run", "agent", "look"]) $(name).onclick = () => press(name);
$("start").onsubmit = (event) => { event.preventDefault(); document.activeElement.blur(); start(); };
$("task").onchange = () => { $("task").blur(); start(); };
$("slider").oninput = () => rewind(Number($("slider").value));
$("slider").onchange = () => $("slider").blur();
$("speed").oninput = showSpeed;
$("speed").onchange = () => $("speed").blur();
$("record").onclick = () => {
  notice("Drawing the GIF …");
  ask({ type: "record", fps: Number($("speed").value) });
};

// Charts.

const CHARTS = [
  { id: "reward", lines: [["dreamed", "--dreamed"], ["reward", "--gamed"]], low: 0, high: 1 },
  { id: "discount", lines: [["discount", "--dreamed"]], low: 0, high: 1 },
  { id: "error", lines: [["error", "--text"]], low: 0, high: 1 },
];
const LEFT = 30, RIGHT = 6, TOP = 6;

function drawCharts() {
  for (const chart of CHARTS) drawChart(chart);
}

function drawChart({ id, lines, low, high }) {
  const canvas = $(`c-${id}`), scale = devicePixelRatio;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const context = canvas.getContext("2d");
  const bottom = id === "error" ? 20 : 4; // The last has the numbers of the steps.
  context.scale(scale, scale);
  for (const [name] of lines)
    for (const row of course) {
      high = Math.max(high, row[name] ?? 0);
      low = Math.min(low, row[name] ?? 0);
    }
  const last = Math.max(20, course.length - 1);
  const x = (i) => LEFT + (width - LEFT - RIGHT) * i / last;
  const y = (v) => TOP + (height - TOP - bottom) * (high - v) / (high - low);
  const axis = (value) => {
    context.fillRect(LEFT, Math.round(y(value)), width - LEFT - RIGHT, 1);
  };
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = resolved(canvas, "--line");
  axis(0);
  axis(high);
  context.fillStyle = resolved(canvas, "--seen");
  const thick = x(1) - x(0);
  course.forEach((row, i) => {
    const from = Math.max(LEFT, x(i) - thick / 2);
    if (row.looked) context.fillRect(from, height - bottom, x(i) + thick / 2 - from, 3);
  });
  context.fillStyle = resolved(canvas, "--quiet");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of [high, 0, ...(low < -0.15 * high ? [low] : [])])
    context.fillText(short(value), LEFT - 5, Math.min(Math.max(y(value), 8), height - bottom - 3));
  context.textBaseline = "alphabetic";
  if (bottom > 8) {
    context.fillText(last, width - RIGHT, height - 4);
    context.textAlign = "left";
    context.fillText(0, LEFT, height - 4);
  }
  for (const [name, key] of lines) {
    context.strokeStyle = resolved(canvas, key);
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let down = false;
    course.forEach((row, i) => {
      if (row[name] == null) down = false;
      else if (down) context.lineTo(x(i), y(row[name]));
      else { context.moveTo(x(i), y(row[name])); down = true; }
    });
    context.stroke();
  }
  context.fillStyle = resolved(canvas, "--accent");
  context.fillRect(x(step) - 0.5, TOP, 1, height - TOP - bottom);
  const row = course[step];
  $(`v-${id}`).replaceChildren(...lines.map(([name, key]) => {
    const value = document.createElement("span");
    value.style.color = `var(${key})`;
    value.textContent = row && row[name] != null ? short(row[name]) : "–";
    return value;
  }));
  canvas.rewind = (event) => rewind((event.offsetX - LEFT) / (width - LEFT - RIGHT) * last);
}

// The value of a custom property as a colour of today's theme.
function resolved(element, name) {
  element.style.color = `var(${name})`;
  return getComputedStyle(element).color;
}

const short = (value) => Math.abs(value) >= 10 ? value.toFixed(0) : String(+value.toFixed(2));

for (const { id } of CHARTS) {
  const canvas = $(`c-${id}`);
  canvas.onpointerdown = (event) => canvas.rewind && canvas.rewind(event);
  canvas.onpointermove = (event) => { if (event.buttons && canvas.rewind) canvas.rewind(event); };
}
new ResizeObserver(drawCharts).observe($("time"));
matchMedia("(prefers-color-scheme: dark)").onchange = drawCharts;

showSpeed();
connect();
